"""Photographs that lie in a file with others, of which a browser shows copies beside the page."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

from colorize_core import encoding
from jobs import cli, colorize, review
from jobs.coloring.config import ColorizeConfig
from jobs.pages import thumbnails
from jobs.pages.review import page as review_page
from jobs.pages.review import pictures
from jobs.storage.catalog import SCHEMA, Catalog
from jobs.storage.parquet import ParquetWriter

COLOURS = {"a.jpg": (200, 60, 40), "b/b.jpg": (60, 160, 60), "c#d.png": (40, 80, 200)}
HEIGHT, WIDTH = 900, 1200


def photograph(name: str) -> bytes:
    rgb = np.tile(np.uint8(COLOURS[name]), (HEIGHT, WIDTH, 1))
    return encoding.encode(rgb, "png" if name.endswith("png") else "jpeg")


def write_archive(output: Path, kind: str) -> dict[str, tuple]:
    """Photographs in one file and the catalogue of it; their colours by what the page calls them."""
    packed = ParquetWriter(str(output))
    shard, members = {"tar": "1912/00.tar", "shard": "1912/00.parquet", "parquet": ""}[kind], list(COLOURS)
    names = [str(i) for i in range(len(members))] if kind == "shard" else members
    rows = []
    for confidence, (name, member) in enumerate(zip(names, members, strict=True)):
        picture = photograph(member)
        row = {
            "id": hashlib.sha256(name.encode()).hexdigest()[:32], "status": "ok", "width": WIDTH, "height": HEIGHT,
            "source": f"/archive/{shard}#{name}" if shard else f"/archive/{name}", "confidence": confidence / 10,
            "output": f"{output}/shards/{shard}#{name}", "output_sha256": hashlib.sha256(picture).hexdigest(),
        }  # fmt: skip
        if kind == "parquet":
            packed.add(row, name, picture)
        rows.append(row)
    packed.flush()
    (output / "shards/1912").mkdir(parents=True)
    if kind == "tar":
        with tarfile.open(output / "shards" / shard, "w") as archive:
            for name in members:
                info = tarfile.TarInfo(name)
                info.size = len(picture := photograph(name))
                archive.addfile(info, io.BytesIO(picture))
    elif kind == "shard":
        image = [{"bytes": photograph(name), "path": name} for name in members]
        pq.write_table(pa.table({"image": image}), output / "shards" / shard)
    Catalog(str(output)).append(pa.Table.from_pylist(rows, SCHEMA))
    return {name.rpartition("/")[2]: COLOURS[member] for name, member in zip(names, members, strict=True)}


@pytest.fixture(params=["tar", "shard", "parquet"])
def kind(request) -> str:
    return request.param


def test_a_larger_copy_is_there_to_look_closer(tmp_path, kind, look):
    colours = write_archive(tmp_path, kind)
    shown = look(review_page.write(str(tmp_path)))
    assert shown.names() == list(colours)
    shown.page.locator(".card .open").first.click()
    assert shown.page.locator("[data-do=native]").is_disabled()
    for colour in colours.values():
        shown.page.locator(".stage .after[src*='/pictures/']").wait_for()
        image = shown.page.evaluate("""async () => {
            const image = document.querySelector(".stage .after");
            await image.decode();
            return [image.naturalWidth, image.naturalHeight, image.src];
        }""")
        assert image[:2] == [thumbnails.LARGER, 0.75 * thumbnails.LARGER]
        larger = Path(image[2].removeprefix("file://"))
        assert larger.parent == tmp_path / "review/pictures"
        assert np.abs(decoded(larger.read_bytes()).mean((0, 1)) - colour).max() < 4
        shown.page.keyboard.press("ArrowRight")
    assert shown.problems == []


def decoded(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)))


def test_a_shard_is_a_folder_and_decisions_name_places_in_it(tmp_path, look):
    write_archive(tmp_path, "tar")
    shown = look(review_page.write(str(tmp_path)))
    shown.names()
    shown.page.locator(".card .open").first.focus()
    for _ in COLOURS:
        shown.page.keyboard.press("k")
    said = json.loads(shown.exported("json"))
    assert {row["source"] for row in said} == {f"/archive/1912/00.tar#{name}" for name in COLOURS}
    shown.choose("folder", "00.tar#b")
    assert shown.names() == ["b.jpg"]
    shown.page.locator(".card .open").first.click()
    assert shown.page.locator("#viewer dd a").count() == 0, "no browser opens what lies in there"


def test_a_job_over_shards_writes_such_a_page_with_the_networks_likeliest(beside, tmp_path, look, capsys):
    (tmp_path / "scans").mkdir()
    with tarfile.open(tmp_path / "scans/00.tar", "w") as archive:
        for name in ("astronaut", "chelsea"):
            Image.fromarray(getattr(data, name)()).convert("L").save(scan := io.BytesIO(), "PNG")
            info = tarfile.TarInfo(f"{name}.png")
            info.size = scan.tell()
            archive.addfile(info, io.BytesIO(scan.getvalue()))
    output = tmp_path / "out"
    assert colorize.main(ColorizeConfig(source=str(tmp_path / "scans"), output=str(output))) == cli.OK
    shown = look(output / "review/index.html")
    assert sorted(shown.names()) == ["astronaut.png", "chelsea.png"]
    shown.page.locator(".card .open").first.click()
    shown.page.locator(".stage .after[src*='/pictures/']").wait_for()
    shown.page.wait_for_function("() => home.likeliest(shownRow())[0] === 12")
    before = (output / "review/rows.js").stat().st_mtime_ns
    assert review.main(review.ReviewConfig(output=str(output))) == cli.OK
    assert (output / "review/rows.js").stat().st_mtime_ns == before, "nothing has changed"
    assert capsys.readouterr().err == ""


def test_only_the_most_doubtful_ones_have_one(tmp_path, kind, monkeypatch):
    write_archive(tmp_path, kind)
    monkeypatch.setattr(review_page, "CLOSER", 1)
    review_page.write(str(tmp_path))
    (copy,) = (tmp_path / "review/pictures").iterdir()
    assert np.abs(decoded(copy.read_bytes()).mean((0, 1)) - COLOURS["a.jpg"]).max() < 4
    monkeypatch.setattr(review_page, "CLOSER", 2)
    review_page.write(str(tmp_path), most=10)
    assert len(list((tmp_path / "review/pictures").iterdir())) == 2 and copy.exists()
    failed = [row | {"status": "error"} for row in Catalog(str(tmp_path)).read().to_pylist() if not row["confidence"]]
    Catalog(str(tmp_path)).append(pa.Table.from_pylist(failed, SCHEMA))
    review_page.write(str(tmp_path), most=10)
    assert len(list((tmp_path / "review/pictures").iterdir())) == 2 and not copy.exists()


def test_a_file_of_many_is_read_once(tmp_path, kind, monkeypatch):
    write_archive(tmp_path, kind)
    opened = []
    for module, name in ((pictures.shards, "open_shard"), (pictures.parquet, "photographs")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda uri, *rest, real=real: (opened.append(uri), real(uri, *rest))[1])
    monkeypatch.setattr(pictures, "TOGETHER", 2)
    review_page.write(str(tmp_path))
    assert len(opened) == 1
