"""The scans of an archive come back from its colour photographs alone, and nothing else is touched."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import restore
from jobs.cli import UsageError
from jobs.storage import files, parquet
from tests import jpegs
from tests.colorize_core.test_recipe import attached, coloured, encoded

GREY = np.arange(40 * 56, dtype=np.uint8).reshape(40, 56)


@pytest.fixture
def scans() -> dict[str, bytes]:
    """By their paths: one whose file comes back, one of which luma does, and one that was no JPEG."""
    whole, large = encoded(GREY), encoded(GREY) + np.random.default_rng(0).bytes(9000)
    return {"1912/a.jpg": whole, "1912/ü b.jpeg": encoded(GREY, progressive=True), "large.jpg": large}


@pytest.fixture
def output(tmp_path, scans) -> Path:
    for name, scan in scans.items():
        files.write_bytes(str(tmp_path / f"out/images/{name}.jpg"), attached(scan))
    files.write_bytes(str(tmp_path / "out/images/c.png.jpg"), coloured(encoded(GREY)))
    files.write_bytes(str(tmp_path / "out/images/d.tif.png"), b"whatever")
    return tmp_path / "out"


def run(output, folder, **options) -> int:
    return restore.main(restore.RestoreConfig(str(output), str(folder), **options))


def there(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_scans_come_back_under_their_own_paths(output, scans, tmp_path, capsys):
    assert run(output, tmp_path / "back") == 3
    said = capsys.readouterr().out
    assert "2 came back byte for byte" in said and "1 came back as a grey JPEG" in said and "2 are no JPEG" in said
    found = there(tmp_path / "back")
    luma = found.pop("large.jpg")
    assert found == {name: scan for name, scan in scans.items() if name != "large.jpg"}
    assert np.array_equal(jpegs.grey(luma), jpegs.grey(scans["large.jpg"]))


def test_where_every_file_came_back_the_status_is_0(output, tmp_path):
    for name in ("c.png.jpg", "d.tif.png"):
        (output / "images" / name).unlink()
    assert run(output, tmp_path / "back") == 0


def test_once_more_changes_nothing(output, tmp_path):
    run(output, tmp_path / "back")
    before = {path: (tmp_path / "back" / path).stat().st_mtime_ns for path in there(tmp_path / "back")}
    assert run(output, tmp_path / "back") == 3
    assert before == {path: (tmp_path / "back" / path).stat().st_mtime_ns for path in there(tmp_path / "back")}


def test_another_file_of_that_name_is_left_as_it_is(output, tmp_path, capsys):
    mine = tmp_path / "back/1912/a.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    assert run(output, tmp_path / "back") == 3
    assert mine.read_bytes() == b"mine"
    said = capsys.readouterr()
    assert "1 failed" in said.out and "1912/a.jpg: " in said.err and "another file is at" in said.err


def test_a_dry_run_writes_nothing(output, tmp_path, capsys):
    assert run(output, tmp_path / "back", dry_run=True) == 3
    assert "2 came back byte for byte" in capsys.readouterr().out and not (tmp_path / "back").exists()


def test_a_damaged_photograph_is_one_line_and_no_file(output, tmp_path, capsys):
    photograph = output / "images/1912/a.jpg.jpg"
    photograph.write_bytes(photograph.read_bytes()[:-40])
    assert run(output, tmp_path / "back") == 3
    assert len(capsys.readouterr().err.splitlines()) == 1 and not (tmp_path / "back/1912/a.jpg").exists()


@pytest.mark.parametrize("folder", ["out", "out/back", "."])
def test_the_folder_lies_apart(output, tmp_path, folder):
    with pytest.raises(UsageError, match="must lie apart"):
        run(output, tmp_path / folder)


def test_what_no_job_has_written_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for place in ("empty", "missing"):
        with pytest.raises(UsageError, match="no colour photographs"):
            run(tmp_path / place, tmp_path / "back")


def test_from_parquet(scans, tmp_path, capsys):
    writer = parquet.ParquetWriter(str(tmp_path / "out"))
    for i, (name, scan) in enumerate(scans.items()):
        writer.add({"id": str(i), "source": name, "width": 56, "height": 40}, f"{name}.jpg", attached(scan))
    writer.flush()
    hostile = [{"bytes": attached(scans["large.jpg"]), "path": path} for path in ("../../large.jpg.jpg", "x\0y.jpg")]
    table = pa.table([["x", "y"], ["x", "y"], hostile, [56] * 2, [40] * 2], schema=parquet.SCHEMA)
    pq.write_table(table, tmp_path / "out/parquet/part-0123456789abcdef0123456789abcdef.parquet")
    assert run(tmp_path / "out", tmp_path / "back") == 3
    assert {*there(tmp_path / "back")} == {*scans} and not (tmp_path.parent / "large.jpg").exists()
    assert capsys.readouterr().err.count("its name is none of a scan") == 2


def test_in_object_stores(s3_endpoint, output, scans, tmp_path):
    import s3fs

    fs = s3fs.S3FileSystem()
    fs.mkdir("restoration")
    fs.put(str(output), "restoration/out", recursive=True)
    assert run("s3://restoration/out", "s3://restoration/back") == 3
    assert fs.cat_file("restoration/back/1912/a.jpg") == scans["1912/a.jpg"]
    fs.pipe_file("restoration/back/1912/a.jpg", b"mine")
    assert run("s3://restoration/out", "s3://restoration/back") == 3
    assert fs.cat_file("restoration/back/1912/a.jpg") == b"mine"
