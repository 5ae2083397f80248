"""What is refused has a row that says why, also where it was done before."""

import pyarrow as pa
import pytest

from jobs.coloring import refusal
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.job import source_id
from jobs.storage.catalog import SCHEMA, Catalog


@pytest.fixture
def catalog(tmp_path) -> Catalog:
    """With a.png, in colour."""
    row = {"id": source_id("a.png"), "source_version": "1", "status": "ok", "output": f"{tmp_path}/images/a.png.png"}
    catalog = Catalog(str(tmp_path))
    catalog.append(pa.Table.from_pylist([row], SCHEMA))
    return catalog


def test_its_row_of_before_says_no_longer_that_it_has_colours(catalog, tmp_path):
    """They are those of A.png, on a file system that takes the two for the same."""
    row = {"id": source_id("a.png"), "uri": b"/scans/a.png", "version": "1", "problem": "it is like A.png"}
    refused, job = pa.Table.from_pylist([row]), ColorizeConfig("/scans", str(tmp_path)).job
    for _ in range(2):
        refusal.record(refused, catalog, job)
        (found,) = catalog.read().to_pylist()
        assert (found["status"], found["error"], found["output"]) == ("error", "it is like A.png", None)
        assert found["source_version"] == "", "without A.png it is coloured again"
    assert len(catalog.paths) == 2, "it is said once"
