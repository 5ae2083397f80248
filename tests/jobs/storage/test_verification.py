"""What differs between catalogue, pictures and scans is found, and mended without touching anything else."""

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from jobs import verify
from jobs.cli import JobFailed, UsageError
from jobs.storage import verification
from jobs.storage.catalog import SCHEMA, Catalog
from jobs.storage.files import UNFINISHED
from jobs.storage.listing import list_sources
from jobs.storage.output import Place
from jobs.storage.shard_rows import Footer, ShardRows

OURS = b"...<Iptc4xmpExt:AISystemUsed>colorize 1</Iptc4xmpExt:AISystemUsed>..."


@pytest.fixture
def output(tmp_path) -> str:
    """Three photographs, in order."""
    output = tmp_path / "out"
    (tmp_path / "scans").mkdir()
    rows = []
    with Place(str(output)).claim("archive", str(tmp_path / "scans")):
        for name in "abc":
            (tmp_path / f"scans/{name}.png").write_bytes(b"x")
            picture = output / f"images/{name}.png.png"
            picture.parent.mkdir(exist_ok=True)
            picture.write_bytes(OURS + name.encode())
            rows.append(
                {
                    "id": name, "source": str(tmp_path / f"scans/{name}.png"), "source_version": "1", "status": "ok",
                    "output": str(picture), "output_sha256": hashlib.sha256(picture.read_bytes()).hexdigest(),
                }
            )  # fmt: skip
        Catalog(str(output)).append(pa.Table.from_pylist(rows, SCHEMA))
    return str(output)


def run(output: str, **options) -> int:
    return verify.main(verify.VerifyConfig(output, **options))


def status(output: str) -> dict[str, tuple]:
    rows = Catalog(output).read(["id", "status", "source_version", "output"]).to_pylist()
    return {row["id"]: (row["status"], row["source_version"], row["output"] is not None) for row in rows}


def test_nothing_to_find(output, capsys):
    assert run(output, read_all=True) == 0 and "holds what its catalogue says" in capsys.readouterr().out


def test_a_picture_that_somebody_deleted_is_done_again(output, capsys, tmp_path):
    (tmp_path / "out/images/a.png.png").unlink()
    assert run(output) == 3
    said = capsys.readouterr().out
    assert "1 colour photographs that are gone" in said and "a.png.png" in said and "--mend" in said
    assert status(output)["a"] == ("ok", "1", True), "nothing is done unasked"
    assert run(output, mend=True) == 0
    assert status(output) == {"a": ("error", "", False), "b": ("ok", "1", True), "c": ("ok", "1", True)}


def test_a_picture_that_was_changed_is_found_by_reading_all(output, tmp_path):
    (tmp_path / "out/images/b.png.png").write_bytes(b"damaged")
    assert run(output) == 0
    assert run(output, read_all=True) == 3
    assert verification.verify(output, read_all=True).missing["id"].to_pylist() == ["b"]


def test_only_our_pictures_are_put_aside_when_no_row_needs_them(output, capsys, tmp_path):
    """What was made of one of ours says that it is ours as well."""
    stale, foreign = tmp_path / "out/images/a.png.jpg", tmp_path / "out/images/b.png.tif"
    retouched, collected = tmp_path / "out/images/a.png-final.png", tmp_path / "out/shards/best.tar"
    collected.parent.mkdir()
    for path in (stale, retouched, collected):
        path.write_bytes(OURS)
    foreign.write_bytes(b"mine")
    assert run(output) == 3 and "4 pictures that no row needs" in capsys.readouterr().out
    assert run(output, mend=True) == 3, "some remain"
    assert not stale.exists() and (tmp_path / "out/aside/images/a.png.jpg").read_bytes() == OURS
    assert foreign.read_bytes() == b"mine"
    assert retouched.read_bytes() == collected.read_bytes() == OURS
    assert "do not prove to be ours" in capsys.readouterr().out
    assert all(found == ("ok", "1", True) for found in status(output).values())


def test_by_another_name_of_output_nothing_is_deleted(output, tmp_path):
    (tmp_path / "link").symlink_to(output)
    assert run(str(tmp_path / "link"), mend=True, read_all=True) == 0, "the same place"
    (tmp_path / "out/images/a.png.png").unlink()
    assert verification.verify(str(tmp_path / "link")).missing["id"].to_pylist() == ["a"]
    (tmp_path / "out/images/a.png.png").write_bytes(OURS + b"a")


def test_an_output_that_was_moved_is_the_same(output, tmp_path, capsys):
    """Into a folder whose name is one of those within."""
    moved = tmp_path / "images/out"
    moved.parent.mkdir()
    tar = {"source": f"{tmp_path}/scans/x.tar#y/b.tar#1.jpg", "output": f"{output}/shards/x.tar#y/b.tar#1.jpg"}
    with ShardRows(output, "0" * 32, Footer("x.tar#y/b.tar", f"{tmp_path}/scans/x.tar#y/b.tar", "1")) as rows:
        rows.add([tar | {"id": "d", "status": "ok", "source_version": "1", "seconds": 0.0}], ["jpeg"])
    for shard in (tmp_path / "scans/x.tar#y/b.tar", tmp_path / "out/shards/x.tar#y/b.tar"):
        shard.parent.mkdir(parents=True)
        shard.write_bytes(b"x")
    assert run(output) == 0, "a folder may be called as a shard is"
    os.rename(output, moved)
    assert run(str(moved)) == 3
    assert "4 photographs that the catalogue names where OUTPUT was before" in capsys.readouterr().out
    assert run(str(moved), mend=True) == run(str(moved)) == 0 and not (moved / "aside").exists()
    places = {row["id"]: row["output"] for row in Catalog(str(moved)).read().to_pylist()}
    assert places["a"] == f"{moved}/images/a.png.png" and places["d"] == f"{moved}/shards/x.tar#y/b.tar#1.jpg"
    for folder in ("images", "shards"):
        shutil.rmtree(moved / folder)
    os.rename(moved, output)
    with pytest.raises(UsageError, match=r"in another place, such as .*, and they are not here either"):
        run(output, mend=True)


def test_of_a_name_that_two_rows_share_on_a_file_system_that_folds_names_nothing_is_put_aside(output, tmp_path):
    row = next(row for row in Catalog(output).read().to_pylist() if row["id"] == "a")
    Catalog(output).append(pa.Table.from_pylist([row | {"id": "A", "output_sha256": "of before"}], SCHEMA))
    assert run(output, mend=True, read_all=True) == 0
    assert (tmp_path / "out/images/a.png.png").exists() and status(output)["A"] == ("error", "", False)


def test_what_is_to_be_mended_is_looked_for_while_no_job_works(output, monkeypatch):
    """Or a job could end between the two, and its pictures be taken for ones that no row needs."""
    looked = []

    def look(*arguments):
        looked.append(Path(output, "colorize.lease").exists())
        return verification.Findings()

    monkeypatch.setattr(verification, "verify", look)
    assert run(output, mend=True) == run(output) == 0
    assert looked == [True, False]


def test_only_what_a_kill_left_unfinished_is_deleted_without_proof(output, tmp_path):
    left, mine = tmp_path / f"out/images/{UNFINISHED}0123456789abcdef", tmp_path / f"out/images/{UNFINISHED}notes.txt"
    left.write_bytes(b"half")
    mine.write_bytes(b"mine")
    run(output, mend=True)
    assert not left.exists() and mine.read_bytes() == b"mine"


def test_variants_and_maps_belong_to_their_photograph(output, tmp_path):
    for name in ("variants/2/a.png.png", "variants/3/a.png.png", "confidence/a.png.png"):
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_bytes(OURS)
    assert run(output) == 0


def test_the_catalogue_says_whose_scan_is_gone(output, tmp_path):
    (tmp_path / "scans/c.png").unlink()
    assert run(output) == 3
    assert run(output, mend=True) == 0
    assert status(output)["c"] == ("skipped", "1", True) and (tmp_path / "out/images/c.png.png").is_file()
    assert run(output) == 0, "it has been said"
    (tmp_path / "scans/c.png").write_bytes(b"x")
    assert run(output) == 3
    assert run(output, mend=True) == 0 and status(output)["c"] == ("ok", "1", True)
    assert run(output) == 0


def test_scans_that_have_exchanged_their_names_are_found_by_reading_all(output, tmp_path, capsys):
    """Of one size and one time, as uncompressed scans may be to which a tool has given it."""
    rows = {row["id"]: row for row in Catalog(output).read().to_pylist()}
    for name in "ab":
        (tmp_path / f"scans/{name}.png").write_bytes(name.encode())
        os.utime(tmp_path / f"scans/{name}.png", (1, 1))
    (version,) = {source.version for source in list_sources(str(tmp_path / "scans")) if source.path != "c.png"}
    known = [rows[name] | {"source_version": version, "source_sha256": hashlib.sha256(name.encode()).hexdigest()}
             for name in "ab"]  # fmt: skip
    Catalog(output).append(pa.Table.from_pylist(known, SCHEMA))
    assert run(output, read_all=True) == 0
    for old, new in (("a.png", "c.tmp"), ("b.png", "a.png"), ("c.tmp", "b.png")):
        os.rename(tmp_path / f"scans/{old}", tmp_path / f"scans/{new}")
    assert run(output) == 0 and run(output, read_all=True, mend=True) == 0
    assert "2 photographs whose scan is another one now" in capsys.readouterr().out
    assert status(output) == {"a": ("error", "", True), "b": ("error", "", True), "c": ("ok", "1", True)}


def test_a_damaged_catalogue_is_put_aside(output, capsys, tmp_path):
    (file,) = (tmp_path / "out/catalog").iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    assert run(output) == 3 and "1 damaged files of the catalogue" in capsys.readouterr().out
    assert run(output, mend=True) == 0
    assert (tmp_path / f"out/aside/catalog/{file.name}").is_file() and status(output) == {}


def test_an_archive_above_the_folder_of_then_is_still_there(output, tmp_path):
    """An earlier version took down where SOURCE was as it was called, such as ../scans."""
    (tmp_path / "cwd").mkdir()
    above = f"{tmp_path}/cwd/.."
    marker = Place(output).marker | {"source": f"{above}/scans"}
    (tmp_path / "out/colorize.json").write_text(json.dumps(marker))
    rows = Catalog(output).read().to_pylist()
    places = [{name: row[name].replace(str(tmp_path), above) for name in ("source", "output")} for row in rows]
    Catalog(output).append(pa.Table.from_pylist([row | there for row, there in zip(rows, places, strict=True)], SCHEMA))
    assert run(output, mend=True, read_all=True) == 0
    assert set(status(output).values()) == {("ok", "1", True)}
    with Place(output).claim("archive", str(tmp_path / "scans")):
        assert Place(output).marker["source"] == str(tmp_path / "scans")


def test_a_place_that_cannot_be_written_is_said_in_a_sentence(output, monkeypatch):
    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("jobs.storage.output.Lease._create", full)
    with pytest.raises(JobFailed, match=r"out cannot be mended \(.*No space left on device\): see to its permissions"):
        run(output, mend=True)
