"""A decision holds for the colours that were looked at."""

import pyarrow as pa
import pytest

from jobs.pages import decisions

SEEN = "0a" * 32


@pytest.mark.parametrize(
    "now, left",
    [
        (SEEN, {"a": "keep", "b": "reject", "c": "redo"}),
        ("0b" * 32, {"c": "redo"}),  # what is to be done again may be, whatever it was done with
        (None, {"c": "redo"}),
    ],
)
def test_what_was_kept_or_rejected_is_left_out_where_the_colours_are_others(tmp_path, now, left):
    lines = [
        f"{id},/scans/{id}.jpg,{said},sha256:{SEEN[:8]}" for id, said in zip("abc", decisions.DECISIONS, strict=True)
    ]
    (tmp_path / "a.csv").write_text("\n".join(["id,source,decision,colors", *lines, "d,/scans/d.jpg,keep,", ""]))
    said = decisions.read(str(tmp_path / "a.csv"))
    rows = pa.table({"id": [*"abcd"], "output_sha256": pa.array([now] * 3 + ["0c" * 32], pa.string())})
    assert said.of_present(rows).decisions == left | {"d": "keep"}, "of an earlier list nobody knows"
