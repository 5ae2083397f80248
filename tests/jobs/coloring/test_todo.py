"""What is done again, and why: no more than has to be."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs.coloring import hinted, todo
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.identity import identified
from jobs.coloring.job import named
from jobs.storage.catalog import SCHEMA, Catalog
from jobs.storage.listing import LISTING

KINDS = {"grey.png": "grey", "sepia.png": "tinted", "colour.png": "color", "page.png": "text", "notes.txt": None}


@pytest.fixture
def files() -> pa.Table:
    rows = [{"uri": b"/s/" + name.encode(), "path": name.encode(), "version": "1", "bytes": 1} for name in KINDS]
    return identified(pa.Table.from_pylist(rows, LISTING), "png", False)[0]


def config(**options) -> ColorizeConfig:
    return ColorizeConfig("/s", "/out", **options)


@pytest.fixture
def finished(files, tmp_path) -> Catalog:
    """All five done with the usual options by weights called "ours"."""
    catalog, job, rows = Catalog(str(tmp_path)), config().job, []
    for file in files.to_pylist():
        kind = KINDS[file["path"].decode()]
        policy = job.policies.get(kind, "recolor")
        rows.append(
            {
                "id": file["id"], "source_version": "1", "model": "ours", "kind": kind,
                "settings": job.digest(policy, named(file["path"].decode())), "status": "ok" if kind else "skipped",
            }
        )  # fmt: skip
    catalog.append(pa.Table.from_pylist(rows, SCHEMA))
    return catalog


def again(files, catalog, model="ours", retry=False, given=None, **options) -> dict[str, str]:
    rows = catalog.read(todo.COLUMNS)
    wanted = todo.todo(hinted.hinted(files, rows, given or {}), rows, model, config(**options).job, retry)
    return {row["path"].decode(): row["why"] for row in wanted.to_pylist()}


def test_nothing_is_done_twice(files, finished):
    assert again(files, finished) == {}
    assert again(files, finished, actors="3", timeout=9.0, weights="elsewhere") == {}, "outputs do not depend on these"


def test_other_weights_matter_to_what_they_colour(files, finished):
    assert again(files, finished, model="theirs") == dict.fromkeys(
        ["grey.png", "sepia.png"], "coloured with other weights"
    )


@pytest.mark.parametrize(
    "options, names",
    [
        ({"if_text": "skip"}, ["page.png"]),
        ({"if_text": "recolor"}, ["page.png"]),
        ({"if_color": "recolor"}, ["colour.png"]),
        ({"if_tinted": "skip"}, ["sepia.png"]),
        ({"vividness": 0.3}, ["grey.png", "sepia.png"]),
        ({"variants": 2}, ["grey.png", "sepia.png"]),
        ({"confidence_map": True}, ["grey.png", "sepia.png"]),
        ({"provenance": False}, ["grey.png", "page.png", "sepia.png"]),
        ({"format": "jpeg"}, ["grey.png", "page.png", "sepia.png"]),
        ({"format": "keep"}, []),
        ({"review": False}, []),
    ],
)
def test_an_option_costs_what_it_changes(files, finished, options, names):
    assert again(files, finished, **options) == dict.fromkeys(sorted(names), "done with other settings")


def test_hints_are_part_of_a_photographs_version(files, finished):
    hint, (first, *_) = {"x": 4.0, "y": 3.0, "color": "#336699", "radius": 0.0}, files.to_pylist()
    path, given = first["path"].decode(), {first["id"]: [hint]}
    assert again(files, finished, given=given) == {path: "given other hints"}
    assert again(files, finished, given={first["id"]: []}) == {}, "there were none"
    rows = [row | {"hints": given[row["id"]]} for row in finished.read().to_pylist() if row["id"] == first["id"]]
    finished.append(pa.Table.from_pylist(rows, SCHEMA))
    assert again(files, finished, given=given) == {}
    assert again(files, finished) == {}, "they hold until others are given"
    (row,) = hinted.hinted(files, finished.read(), {}).filter(pc.equal(files["id"], first["id"])).to_pylist()
    assert row["hints"] == [hint], "also where it is coloured again for another reason"
    assert again(files, finished, given={first["id"]: []}) == {path: "given other hints"}


def test_a_release_recolours_nothing(files, finished, monkeypatch):
    monkeypatch.setattr("colorize_core.__version__", "99.0")
    assert again(files, finished) == {}


def test_what_has_changed_failed_or_could_not_be_stored(files, finished):
    rows = finished.read().to_pylist()
    rows[0]["source_version"] = "0"
    rows[1] |= {"status": "error", "source_version": ""}
    rows[2] |= {"status": "error"}
    finished.append(pa.Table.from_pylist(rows, SCHEMA))
    names = {row["id"]: row["path"].decode() for row in files.to_pylist()}
    want = {names[rows[0]["id"]]: "changed since", names[rows[1]["id"]]: "not stored before"}
    assert again(files, finished) == want
    assert again(files, finished, retry=True) == want | {names[rows[2]["id"]]: "failed before"}


def test_new_ones(files, tmp_path):
    assert set(again(files, Catalog(str(tmp_path / "none"))).values()) == {"new"}


def test_the_version_of_what_is_made_is_part_of_it():
    job = config().job
    assert job.settings("recolor")["outputs"] == job.settings("grey")["outputs"] == 1
    assert replace(job, threads=9).digest("recolor") == job.digest("recolor")
