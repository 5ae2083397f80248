"""What a job over photographs in files of their own keeps of what has come."""

import json

import pyarrow as pa
import pytest

from jobs.cli import UsageError
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.inputs import Inputs
from jobs.coloring.loose import Files
from jobs.storage.catalog import SCHEMA
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
