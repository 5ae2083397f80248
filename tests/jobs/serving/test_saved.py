"""What was said on a served page outlives what becomes of its photographs."""

import json
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from jobs.serving import applying
from jobs.serving.saved import Saved
from jobs.storage.catalog import SCHEMA, Catalog
from jobs.storage.output import Place

HINT = {"x": 1.0, "y": 2.0, "color": "#2e8b57", "radius": 0.0}
ROW = {"source": "/scans/a.jpg", "source_version": "1", "status": "ok", "width": 9, "height": 9}


@pytest.fixture
def output(tmp_path) -> str:
    """Three photographs: one to be redone with a hint, one to be redone, one that is kept."""
    coloured(str(tmp_path), 1)
    saved = Saved(str(tmp_path))
    saved.say("a", "redo", [HINT])
    saved.say("b", "redo", None)
    saved.say("c", "keep", None)
    saved.write()
    return str(tmp_path)


def coloured(output: str, day: int, **values) -> None:
    rows = [ROW | {"id": id, "finished_at": datetime(2026, 11, day, tzinfo=UTC)} | values for id in "abc"]
    Catalog(output).append(pa.Table.from_pylist(rows, SCHEMA))


def test_where_a_photograph_has_no_colours_for_a_while_nothing_is_forgotten(output):
    coloured(output, 1, status="error")
    saved = Saved(output)
    assert {*saved.entries} == {*"abc"}
    saved.hand_over()
    assert Saved(output).entries == saved.entries, "a job was given none of them"
    coloured(output, 1)
    assert {*Saved(output).entries} == {*"abc"}


def test_a_list_that_a_page_without_a_server_has_exported_may_be_put_there(output, tmp_path):
    (tmp_path / "review/decisions.json").write_text(json.dumps([{"id": "c", "source": "c", "decision": "reject"}]))
    assert Saved(output).entries["c"]["decision"] == "reject"


def test_hints_hold_for_their_scan_and_the_rest_for_the_colours_that_were_looked_at(output):
    coloured(output, 2)
    saved = Saved(output)
    assert [*saved.entries] == ["a"] and saved.entries["a"]["hints"] == [HINT]
    coloured(output, 3, hints=[HINT])
    assert not Saved(output).entries, "it has been done"


def test_hints_do_not_hold_for_another_scan_of_the_same_name(output):
    coloured(output, 2, source_version="2")
    assert not Saved(output).entries


def test_what_a_list_names_is_applied_over_that_list(output):
    for listed, source in (("/lists/a.txt", "/lists/a.txt"), (None, "/lists")):
        with Place(output).claim("archive", "/lists", adopted=True, listed=listed):
            pass
        assert applying.command(output, "default", "said.json")[3:7] == [source, output, "--only", "said.json"]
