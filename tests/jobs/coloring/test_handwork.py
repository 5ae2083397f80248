"""What people have made of a photograph in colour, under its own name, is kept when it is coloured again."""

import hashlib
import os
import shutil
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from jobs import colorize, verify
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.handwork import HandWork
from jobs.storage.catalog import Catalog


@pytest.fixture
def archive(beside, tmp_path) -> Path:
    """Of two photographs in colour, of which the first one is retouched."""
    (tmp_path / "scans/1912").mkdir(parents=True)
    for name in "ab":
        Image.fromarray(np.full((32, 48), 90, np.uint8)).save(tmp_path / f"scans/1912/{name}.png")
    assert run(tmp_path) == 0 and not (tmp_path / "out/aside").exists()
    retouch(tmp_path / "out/images/1912/a.png.png")
    return tmp_path


def test_variants_and_maps_of_what_a_file_held_before_are_put_aside(archive, capsys):
    scan = archive / "scans/1912/a.png"
    old = {"confidence/1912/a.png.png", "variants/2/1912/a.png.png", "variants/3/1912/a.png.png"}
    assert run(archive, variants=3, confidence_map=True) == 0 and old <= {*below(archive / "out")}
    shutil.rmtree(archive / "out/aside")
    before = below(archive / "out")
    Image.fromarray(np.full((32, 48), 160, np.uint8)).save(scan)
    assert run(archive, variants=2) == 0, "b.png is coloured again as well, but is what it was"
    gone = old - {"variants/2/1912/a.png.png"}
    assert aside(archive) == {name: before[name] for name in gone} and not gone & {*below(archive / "out")}
    assert {name.replace("a.png", "b.png") for name in old} <= {*below(archive / "out")}


def run(archive: Path, **options) -> int:
    return colorize.main(ColorizeConfig(f"{archive}/scans", f"{archive}/out", review=False, **options))


def retouch(picture: Path, color: str = "tan") -> bytes:
    Image.new("RGB", (48, 32), color).save(picture)
    return picture.read_bytes()


def aside(archive: Path) -> dict[str, bytes]:
    return below(archive / "out/aside")


def below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_retouched_is_kept_aside_and_nothing_else(archive, capsys):
    picture, of_none = archive / "out/images/1912/a.png.png", archive / "out/images/1912/c.png.png"
    first = picture.read_bytes()
    assert run(archive, vividness=0.1) == 0
    assert aside(archive) == {"images/1912/a.png.png": first} and picture.read_bytes() != first
    assert f"1 file that somebody may have worked on: kept in {archive}/out/aside" in capsys.readouterr().out

    second, third = retouch(picture, "teal"), retouch(of_none, "navy")
    for _ in range(2):  # the first time it differs, then no row needs it
        verify.main(verify.VerifyConfig(f"{archive}/out", read_all=True, mend=True))
    Image.fromarray(np.full((32, 48), 90, np.uint8)).save(archive / "scans/1912/c.png")
    assert run(archive, vividness=0.1) == 0
    assert aside(archive) == {
        "images/1912/a.png.png": first, "2/images/1912/a.png.png": second, "images/1912/c.png.png": third,
    }  # fmt: skip
    assert verify.main(verify.VerifyConfig(f"{archive}/out", read_all=True)) == 0


def test_what_was_decided_holds_where_the_colours_come_out_the_same(archive):
    """As after scans were copied to another disk, where they have other times."""
    rows = {row["source"][-5:]: row for row in Catalog(f"{archive}/out").read().to_pylist()}
    decisions = archive / "decisions.csv"
    decisions.write_text(f"id,decision\n{rows['a.png']['id']},keep\n{rows['b.png']['id']},reject\n")
    assert run(archive, only=str(decisions)) == 0

    def decided(**options) -> dict[str, str | None]:
        for path in (archive / "scans/1912").iterdir():
            os.utime(path)
        assert run(archive, **options) == 0
        return {row["source"][-5:]: row["decision"] for row in Catalog(f"{archive}/out").read().to_pylist()}

    assert decided() == {"a.png": "keep", "b.png": "reject"}
    Image.fromarray(np.full((32, 48), 160, np.uint8)).save(archive / "scans/1912/b.png")
    assert decided() == {"a.png": "keep", "b.png": None}
    decisions.write_text(f"id,decision\n{rows['a.png']['id']},redo\n")
    assert decided(only=str(decisions)) == {"a.png": None, "b.png": None}, "somebody has not liked it"


def test_photographs_in_parquet_files_go_where_they_are_files_now(archive):
    assert run(archive, format="parquet") == 0 and not list((archive / "out/images").rglob("*.png"))
    assert list((archive / "out/parquet").iterdir())
    assert run(archive) == 0 and not list((archive / "out/parquet").iterdir())
    assert verify.main(verify.VerifyConfig(f"{archive}/out", read_all=True)) == 0


def test_in_a_bucket_one_listing_tells_what_was_stored_since(s3_endpoint, monkeypatch):
    bucket = fsspec.filesystem("s3")
    bucket.mkdir("hand")
    digests = {}
    for name in ("a.png", "b.png", "c/d.png"):
        bucket.pipe_file(f"hand/out/images/{name}", content := f"written, {name}".encode())
        digests[name] = hashlib.sha256(content).hexdigest()
    finished = datetime.now(UTC) + timedelta(seconds=1)
    time.sleep(max(0.0, (finished - datetime.now(UTC)).total_seconds() + 1))  # times there are of whole seconds
    bucket.pipe_file("hand/out/images/b.png", b"retouched")

    asked, work = Counter(), HandWork("s3://hand/out")
    original = type(bucket).call_s3

    def counted(fs, method, *arguments, **options):
        asked[method] += 1
        return original(fs, method, *arguments, **options)

    monkeypatch.setattr(type(bucket), "call_s3", counted)
    work.look(dict.fromkeys([*digests, "e.png"], finished))
    for name in ("a.png", "c/d.png", "e.png"):
        work.keep(name, {digests.get(name)})
    assert asked == {"list_objects_v2": 1}
    work.keep("b.png", {digests["b.png"]})
    assert bucket.find("hand/out/aside") == ["hand/out/aside/images/b.png"]
    assert bucket.cat_file("hand/out/aside/images/b.png") == bucket.cat_file("hand/out/images/b.png") == b"retouched"
