import io
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from pytest import approx

from jobs.cli import LINE_SECONDS
from jobs.coloring import progress, summary
from jobs.coloring.progress import Progress, Step
from jobs.storage.catalog import SCHEMA, Catalog


@pytest.mark.parametrize(
    "seconds, said", [(0.4, "0 s"), (45, "45 s"), (300, "5 min"), (12_600, "3.5 h"), (181_440, "2.1 days")]
)
def test_durations_are_said_as_a_person_says_them(seconds, said):
    assert progress.duration(seconds) == said


def test_the_summary_counts_what_was_asked_for_and_groups_reasons(tmp_path):
    catalog = Catalog(str(tmp_path))
    problem = "the image data is damaged ({}): scan or copy it again"
    rows = [{"id": f"ok{i}", "source": f"ok{i}", "status": "ok", "kind": "tinted" if i else "grey"} for i in range(3)]
    rows += [
        {"id": f"bad{i}", "source": f"bad{i}", "status": "error", "error": problem.format(f"{i} bytes (or so) missing")}
        for i in range(4)
    ]
    rows.append({"id": "big", "source": "big", "status": "error", "error": "it declares 12 x 7 pixels"})
    for row, confidence in zip(rows, (0.9, 0.25, None), strict=False):
        row["confidence"] = confidence
    rows.append({"id": "elsewhere", "source": "elsewhere", "status": "error", "error": "not part of this job"})
    catalog.append(pa.Table.from_pylist(rows, SCHEMA))

    found = summary.summary(catalog, pa.array([row["id"] for row in rows[:-1]]))
    assert found["status"] == {"ok": 3, "error": 5, "skipped": 0}
    assert found["kind"] == {"grey": 1, "tinted": 2}
    assert [(group["count"], group["examples"]) for group in found["reasons"]] == [
        (4, ["bad0", "bad1", "bad2"]),
        (1, ["big"]),
    ]
    assert found["doubtful"] == [{"source": "ok1", "confidence": 0.25}, {"source": "ok0", "confidence": approx(0.9)}]
    out = io.StringIO()
    summary.print_summary(found, 90, 2.5, out)
    assert "bad0" in out.getvalue() and "(and 3 more for the same reason)" in out.getvalue()
    assert "the most doubtful colours, with their confidence: ok1 (0.25), ok0 (0.90)" in out.getvalue()
    assert "3 coloured, 5 failed, 0 skipped, in 90 s, 2.5 photographs/s" in out.getvalue()


def test_a_log_gets_lines_and_the_last_one():
    out, noon = io.StringIO(), datetime(2026, 1, 1, 12, tzinfo=UTC)

    def rows(first: int, statuses: list[str]) -> pa.Table:
        """A photograph every half second."""
        times = [noon + timedelta(seconds=(first + i) / 2) for i in range(len(statuses))]
        return pa.table({"status": statuses, "finished_at": times})

    with Progress(30, out) as shown:
        shown.advance(Step.of_rows(rows(10, ["ok"] * 10)))
        assert not out.getvalue(), "the next line is due in some seconds"
        shown.shown -= LINE_SECONDS
        shown.advance(Step.of_rows(rows(0, ["ok"] * 9 + ["error"])))  # they come in any order
        assert out.getvalue() == "20/30 done, 1 failed, 2.0/s, 5 s left\n"
        shown.advance(Step.of_rows(rows(20, ["ok"] * 10)))
    assert shown.rate == 2
    assert out.getvalue().splitlines()[-1].startswith("30/30 done, 1 failed")
