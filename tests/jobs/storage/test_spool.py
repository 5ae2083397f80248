"""What does not fit into memory comes back from disk, each part by itself."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.storage.parts import WHOLE, Part
from jobs.storage.spool import Spool

ROWS = pa.table({
    "id": [hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(900)],
    "path": pa.array([str(i).encode() for i in range(900)], pa.large_binary()),
})  # fmt: skip


def opened(folder: Path) -> int:
    """How many files in it this process holds open, also those without a name."""
    held = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has been closed meanwhile
            held += os.readlink(descriptor).startswith(f"{folder}/")
    return held


@pytest.mark.parametrize("whole", [WHOLE, Part(2, 3)])
def test_parts_are_as_few_as_fit_and_together_all(whole):
    with Spool(whole, ROWS.schema) as spool:
        for begin in range(0, len(ROWS), 300):
            spool.add(ROWS.slice(begin, 300))
        spool.end()
        expected = whole.rows(ROWS)
        for most in (900, 200, 100):
            parts = spool.parts(most)
            rows = [spool.rows(part) for part in parts]
            assert all(
                len(some) <= most and all(part.holds(some["id"]).to_pylist())
                for part, some in zip(parts, rows, strict=True)
            )
            assert len(parts) < 2.1 * len(expected) / most + 1
            assert pa.concat_tables(rows).sort_by("path").equals(expected.sort_by("path"))
        assert len(spool.parts(1)) == 256, "there is an end to it"
        assert sum(len(spool.rows(part)) for part in spool.parts(1)) == len(expected)


def test_nothing_is_left_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Spool(WHOLE, ROWS.schema) as spool:
        spool.add(ROWS)
        spool.end()
        assert opened(tmp_path) > 0 and not list(tmp_path.iterdir()), "its files have no names"
    assert opened(tmp_path) == 0
