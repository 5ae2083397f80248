"""What does not fit into memory comes back from disk, each part by itself."""

import hashlib
import os

import pyarrow as pa
import pytest

from jobs.storage.parts import WHOLE, Part
from jobs.storage.spool import Spool

ROWS = pa.table({
    "id": [hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(900)],
    "path": pa.array([str(i).encode() for i in range(900)], pa.large_binary()),
})  # fmt: skip


@pytest.mark.parametrize("whole", [WHOLE, Part(2, 3)])
def test_parts_are_as_few_as_fit_and_together_all(whole):
    before = len(os.listdir("/proc/self/fd"))
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
    assert len(os.listdir("/proc/self/fd")) == before
