"""What a job over photographs in files of their own keeps of what has come."""

import json
import os

import pyarrow as pa
import pytest

from jobs.cli import UsageError
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.inputs import Inputs
from jobs.coloring.job import source_id
from jobs.coloring.loose import Files
from jobs.storage.catalog import SCHEMA, Catalog
from jobs.storage.output import LEASE, Place
from jobs.storage.parts import WHOLE


def test_a_job_that_has_lost_output_adds_no_rows_to_it(tmp_path):
    """Another one goes on there, maybe with other settings; this one was held up, and is being stopped."""
    (tmp_path / "scans").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "scans/a.png").write_bytes(b"x")
    config = ColorizeConfig(str(tmp_path / "scans"), str(tmp_path / "out"))
    place = Place(config.output)
    with Inputs(config.source, config.output, WHOLE, folds_names=False) as inputs, place.hold() as lease:
        work = Files(inputs.share(WHOLE), config.job, config, place)
        work.begin(work.files, lease)
        work.take(pa.Table.from_pylist([{"id": "a", "status": "ok"}], SCHEMA))
        (tmp_path / "out" / LEASE).write_text(json.dumps({"token": "theirs"}))
        with pytest.raises(UsageError, match="another job has taken"):
            work.flush()
        assert not work.catalog.paths


def test_a_second_list_gives_no_photograph_the_place_of_another_one(tmp_path):
    """Paths that a list has from elsewhere do not say of which store, nor that they are from elsewhere."""
    listed, output = tmp_path / "list.txt", str(tmp_path / "out")
    (tmp_path / "bucket").mkdir()
    for name in ("a", "b", "c", "d"):
        (tmp_path / f"bucket/{name}.png").write_bytes(b"x")
    listed.write_text("memory://bucket/a.png\nbucket/b.png\nbucket/c.png\n/bucket/d.png\n")
    sources = ["s3://bucket/a.png", "/bucket/b.png", str(tmp_path / "bucket/c.png"), "s3://bucket/d.png"]
    rows = [
        {"id": source_id(f"bucket/{name}.png"), "source": source, "output": "o", "status": "ok"}
        for name, source in zip("abcd", sources, strict=True)
    ]
    Catalog(output).append(pa.Table.from_pylist(rows, SCHEMA))

    def work(**options) -> Files:
        config = ColorizeConfig(str(listed), output, **options)
        with Inputs(config.source, output, WHOLE, folds_names=False) as inputs:
            return Files(inputs.share(WHOLE), config.job, config, Place(output))

    refused = work().refused
    assert [os.path.basename(uri) for uri in refused["uri"].to_pylist()] == [b"a.png", b"b.png", b"d.png"]
    assert refused["problem"][0].as_py() == (
        "its colour photograph would take the place of that of s3://bucket/a.png: give one of the two an OUTPUT of its "
        "own, or, where it has only moved, say so with --moved"
    )
    assert not {*refused["id"].to_pylist()} & {row["id"] for row in rows}
    assert work().files["path"].to_pylist() == [b"bucket/c.png"] and not len(work(moved=True).refused)
