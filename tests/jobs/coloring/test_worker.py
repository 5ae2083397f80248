"""What one process of the job does with photographs of every kind; no Ray is started."""

import errno
import hashlib
import io
import os
import socket
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import ExifTags, Image
from skimage import data

from colorize_core import color, encoding, photo, xmp
from jobs import restore
from jobs.cli import JobFailed
from jobs.coloring import pipeline, preflight
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.job import Job, output_name
from jobs.coloring.worker import ColorizeActor
from jobs.machine import scratch
from jobs.pages import thumbnails
from jobs.storage import files, listing, output

CAMERA = data.camera()[:256, :320]


def image(pixels, format: str, mode: str | None = None, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, format, **options)
    return file.getvalue()


def tiff(*pages: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for page in pages:
            writer.write(page, **options)
    return file.getvalue()


def job(scans, output, run: str = f"test-{os.getpid()}", **options) -> Job:
    config = ColorizeConfig(source=str(scans), output=str(output), timeout=60, **options)
    return replace(config.job, run=run)


@pytest.fixture
def colorize(tmp_path):
    """Colours files given by name; returns their rows by name and reads an output."""

    def run(files: dict[str, bytes], **options) -> dict[str, dict]:
        scans, output = tmp_path / "scans", tmp_path / "out"
        for name, content in files.items():
            (scans / name).parent.mkdir(parents=True, exist_ok=True)
            (scans / name).write_bytes(content)
        inputs = listing.listing(str(scans))
        rows = ColorizeActor(job(scans, output, **options))(inputs).to_pylist()
        return {path.decode(): row for path, row in zip(inputs["path"].to_pylist(), rows, strict=True)}

    return run


def output_of(row: dict) -> Path:
    assert row["status"] == "ok", row["error"]
    return Path(row["output"])


@pytest.mark.parametrize(
    "format, path, expected",
    [
        ("png", "a/b.JPG", "a/b.JPG.png"),
        ("jpeg", "b.tif", "b.tif.jpg"),
        ("keep", "b.tif", "b.tif.tif"),
        ("keep", "b.JPEG", "b.JPEG.jpg"),
        ("keep", "b.webp", "b.webp.png"),
        ("parquet", "b.jpg", "b.jpg.jpg"),
        ("parquet", "b.tif", "b.tif.png"),
    ],
)
def test_names_are_a_function_of_the_path(format, path, expected):
    assert output_name(format, path) == expected


def test_work_per_photograph(tmp_path, monkeypatch):
    """Seconds depend on the machine; these counts are what they are made of."""
    scans, calls = tmp_path / "scans", Counter()
    scans.mkdir()
    for i in range(16):  # in turn upright and across
        Image.fromarray(CAMERA if i % 2 else CAMERA.T.copy()).save(scans / f"{i}.jpg")

    def count(module, name: str) -> None:
        original = getattr(module, name)

        def counted(*arguments, **options):
            calls[name] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, counted)

    for module, name in ((files, "read_bytes"), (files, "write_bytes"), (photo, "measure"), (photo, "pages")):
        count(module, name)
    for module, name in ((encoding, "encode"), (color, "merge"), (color, "grey_of")):
        count(module, name)
    actor = ColorizeActor(job(scans, tmp_path / "out"))
    calls.clear()  # it has tried its device
    count(actor.colorizer.engine, "colours")
    inputs = listing.listing(str(scans))
    rows = actor(inputs)
    each_once = dict.fromkeys(["read_bytes", "measure", "pages", "colours", "encode", "merge"], 16)
    assert calls == each_once | {"write_bytes": 16 + 1}, (
        "grey JPEGs are read, decoded, merged, encoded and written once, never converted; thumbnails together"
    )
    assert inputs.nbytes / 16 < 1000 and rows.nbytes / 16 < 1000, "pixels go through Ray's object store"


def test_keep_keeps_the_container(colorize):
    files = {"a.jpg": image(CAMERA, "JPEG"), "a.tif": tiff(CAMERA), "a.png": image(CAMERA, "PNG")}
    rows = colorize(files | {"a.bmp": image(CAMERA, "BMP")}, format="keep")
    formats = {name: Image.open(output_of(row)).format for name, row in rows.items()}
    assert formats == {"a.jpg": "JPEG", "a.tif": "TIFF", "a.png": "PNG", "a.bmp": "PNG"}
    kept = photo.read(output_of(rows["a.tif"]).read_bytes())
    assert np.array_equal(color.grey_of(kept.pixels), CAMERA)


def luma(content: bytes) -> np.ndarray:
    """As stored: nothing is turned, and no colours are looked at."""
    picture = Image.open(io.BytesIO(content))
    picture.draft("L", picture.size)
    assert picture.mode == "L"
    return np.asarray(picture)


def test_a_jpeg_that_stays_one_keeps_its_luma(colorize):
    large = cv2.resize(CAMERA, (1500, 1100), interpolation=cv2.INTER_CUBIC)
    files = {
        "grey.jpg": image(CAMERA, "JPEG"), "large.jpg": image(large, "JPEG"),
        "rgb.jpg": image(np.dstack([large[::2, ::2]] * 3), "JPEG", progressive=True),
    }  # fmt: skip
    for options in ({"format": "jpeg"}, {"format": "keep"}):
        for name, row in colorize(files, **options).items():
            stored = output_of(row).read_bytes()
            assert np.array_equal(luma(stored), luma(files[name]))
            rgb, upright = photo.read(stored).rgb, photo.read(files[name])
            assert rgb.shape[:2] == (row["height"], row["width"]) == upright.pixels.shape[:2]
            assert np.ptp(rgb, axis=2).mean() > 5 and row["colorfulness"] > 2
            difference = color.lightness(color.grey_of(rgb)) - color.lightness(upright.grey)
            assert np.abs(difference).mean() < 2.5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_stored_as_its_scan_lies_and_looked_at_upright(colorize, tmp_path, orientation):
    """What is coloured, its thumbnail and its map of confidence stand upright; luma and EXIF stay as they are."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    lying = photo.stored(data.camera()[:256, :320], orientation)
    content = image(lying, "JPEG", exif=exif, quality=95)
    made = {}
    for name, picture in (("lying.jpg", content), ("upright.jpg", image(CAMERA, "JPEG", quality=95))):
        row = colorize({name: picture}, format="jpeg", confidence_map=True)[name]
        assert (row["height"], row["width"]) == CAMERA.shape
        made[name] = output_of(row).read_bytes()
        confidence = np.asarray(Image.open(tmp_path / f"out/confidence/{name}.png"))
        assert confidence.shape == CAMERA.shape
    assert np.array_equal(luma(made["lying.jpg"]), luma(content))
    lying, upright = (photo.read(made[name]).rgb.astype(int) for name in ("lying.jpg", "upright.jpg"))
    assert np.abs(lying - upright).mean() < 3, "the network has seen it upright"
    digest = hashlib.sha256(made["lying.jpg"]).hexdigest()
    stored = thumbnails.read(thumbnails.kept(str(tmp_path / "out"))["made"].to_pylist(), [digest])
    (kept,) = stored.values()
    for thumbnail in (kept, thumbnails.of_file(made["lying.jpg"])):
        small = np.asarray(Image.open(io.BytesIO(thumbnail["jpeg"])).convert("L")).astype(int)
        assert small.shape == CAMERA.shape and np.abs(small - CAMERA).mean() < 8


@pytest.mark.parametrize("format", ["keep", "parquet"])
def test_a_jpeg_comes_back_from_its_colour_photograph(colorize, tmp_path, format):
    pixels = np.repeat(CAMERA[..., None], 3, axis=2)
    files = {
        "grey.jpg": image(CAMERA, "JPEG"), "saved as RGB.jpg": image(pixels, "JPEG", optimize=True),
        "progressive.jpg": image(CAMERA, "JPEG", progressive=True),
        "text.jpg": image(data.page(), "JPEG", comment=b"passed through"),
    }  # fmt: skip
    assert {row["status"] for row in colorize(files, format=format).values()} == {"ok"}
    assert restore.main(restore.RestoreConfig(str(tmp_path / "out"), str(tmp_path / "back"))) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "back").iterdir()} == files


def test_a_jpeg_with_tones_of_its_own_looks_like_its_scan(colorize):
    """The profile of the output has the curve of the scan's, of grey or of R = G = B, and sRGB's primaries."""
    linear, adobe = (imagecodecs.cms_profile(name, **how) for name, how in (("gray", {"gamma": 1.8}), ("adobergb", {})))
    files = {
        "grey.jpg": image(CAMERA, "JPEG", icc_profile=linear, quality=95),
        "rgb.jpg": image(np.dstack([CAMERA] * 3), "JPEG", icc_profile=adobe, quality=95),
    }
    for name, row in colorize(files, format="jpeg").items():
        stored = output_of(row).read_bytes()
        assert np.array_equal(luma(stored), luma(files[name]))
        difference = color.lightness(photo.read(stored).grey) - color.lightness(photo.read(files[name]).grey)
        assert np.abs(difference).mean() < 2 and row["colorfulness"] > 2


def test_a_damaged_jpeg_is_an_error_as_in_other_formats(colorize, rng):
    whole = image(CAMERA, "JPEG", restart_marker_rows=1)
    files = {f"{i}.jpg": whole[:length] for i, length in enumerate(range(700, len(whole) - 1, len(whole) // 9))}
    for i in range(20):
        damaged = bytearray(whole)
        damaged[rng.integers(700, len(whole))] ^= 1 << rng.integers(8)
        files[f"flipped-{i}.jpg"] = bytes(damaged)
    told = [{name: row["status"] for name, row in colorize(files, format=way).items()} for way in ("png", "jpeg")]
    assert told[0] == told[1] and Counter(told[0].values())["error"] >= 9


def test_what_was_no_jpeg_has_its_luma_encoded_once(colorize):
    deep = CAMERA.astype(np.uint16) * 257
    sideways = Image.Exif()
    sideways[ExifTags.Base.Orientation] = 6
    files = {
        "deep.tif": tiff(deep), "grey.png": image(photo.stored(CAMERA, 6), "PNG", exif=sideways),
        "cmyk.jpg": image(np.dstack([255 - CAMERA] * 3 + [np.zeros_like(CAMERA)]), "JPEG", mode="CMYK", quality=99),
    }  # fmt: skip
    for name, row in colorize(files, format="jpeg").items():
        assert row["bits"] == (16 if name == "deep.tif" else 8)
        difference = luma(output_of(row).read_bytes()).astype(int) - CAMERA
        assert np.abs(difference).mean() < 1.5


def test_what_a_format_does_not_hold_is_said(colorize):
    alpha = image(np.dstack([CAMERA, CAMERA]), "PNG")
    pages = tiff(CAMERA, CAMERA[::-1])
    rows = colorize({"pages.tif": pages}) | {"alpha.png": colorize({"alpha.png": alpha}, format="jpeg")["alpha.png"]}
    assert "it has alpha, which JPEG does not hold: colour it with --format png or tiff" in rows["alpha.png"]["error"]
    assert "it has 2 pages, which PNG does not hold: colour it with --format tiff or keep" in rows["pages.tif"]["error"]
    assert not list(Path(rows["pages.tif"]["source"]).parents[1].glob("out/images/*"))


def test_every_page_of_a_tiff_is_coloured(colorize):
    pages = [CAMERA, CAMERA[:100, ::-1].astype(np.uint16) * 257, data.coins()]
    row = colorize({"album.tif": tiff(*pages)}, format="tiff")["album.tif"]
    assert row["pages"] == 3
    stored = photo.pages(output_of(row).read_bytes())
    for number, (page, colored) in enumerate(zip(pages, (page.pixels for page in stored), strict=True)):
        assert colored.dtype == page.dtype and np.array_equal(color.grey_of(colored), page)
        assert np.ptp(colored, axis=2).max() > 0, f"page {number + 1} is grey"


def test_policies(colorize):
    sepia = np.rint(CAMERA[..., None] * [1.0, 0.85, 0.65]).astype(np.uint8)
    files = {
        "colour.png": image(data.astronaut(), "PNG"),
        "sepia.png": image(sepia, "PNG"),
        "grey.png": image(CAMERA, "PNG"),
        "text.png": image(data.page(), "PNG"),
    }
    rows = colorize(files)
    assert {name: row["kind"] for name, row in rows.items()} == {
        "colour.png": "color", "sepia.png": "tinted", "grey.png": "grey", "text.png": "text",
    }  # fmt: skip
    assert rows["colour.png"]["status"] == "skipped" and "--if-color recolor" in rows["colour.png"]["error"]
    assert np.ptp(np.asarray(Image.open(output_of(rows["text.png"]))), axis=2).max() == 0, "text stays grey"
    tinted = np.asarray(Image.open(output_of(rows["sepia.png"])))
    assert np.array_equal(color.grey_of(tinted), color.grey_of(sepia)), "coloured from its own lightness"

    rows = colorize(files, if_color="recolor", if_tinted="skip", if_text="recolor")
    assert {name: row["status"] for name, row in rows.items()} == {
        "colour.png": "ok", "sepia.png": "skipped", "grey.png": "ok", "text.png": "ok",
    }  # fmt: skip
    assert np.ptp(np.asarray(Image.open(output_of(rows["text.png"]))), axis=2).max() > 0


@pytest.mark.parametrize("format", ["png", "jpeg", "tiff"])
def test_provenance_can_be_left_out(colorize, format):
    row = colorize({"a.png": image(CAMERA, "PNG")}, format=format)["a.png"]
    assert row["provenance"] and b"compositeWithTrainedAlgorithmicMedia" in output_of(row).read_bytes()
    row = colorize({"a.png": image(CAMERA, "PNG")}, format=format, provenance=False)["a.png"]
    assert not row["provenance"] and b"xmpmeta" not in output_of(row).read_bytes()


@pytest.mark.parametrize("format", ["png", "jpeg", "tiff"])
def test_what_was_passed_through_grey_keeps_its_words_and_is_not_labelled(colorize, format):
    """Nobody made its colours."""
    words = xmp.labelled(None, xmp.Provenance("the archive", "1936", "00"))
    for name, label in (("text.jpg", False), ("grey.jpg", True)):
        pixels = CAMERA if label else data.page()
        content = output_of(colorize({name: image(pixels, "JPEG", xmp=words)}, format=format)[name]).read_bytes()
        assert (b"<Iptc4xmpExt:AISystemUsed>colorize<" in content) == label
        assert (b"<Iptc4xmpExt:AISystemUsed>the archive<" in content) != label
        bare = output_of(colorize({name: image(pixels, "JPEG")}, format=format)[name]).read_bytes()
        assert (b"TrainedAlgorithmicMedia" in bare) == label


def test_what_is_no_photograph_is_skipped_and_one_that_cannot_be_read_is_an_error(colorize):
    files = {
        "box/a.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(4000),
        "box/b.cr2": b"II*\0\x10\0\0\0CR\2\0" + bytes(4000),
        "box/damaged.jpg": bytes(4000),
        "box/._a.jpg": b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(4000),
        "box/finding-aid.pdf": b"%PDF-1.7\n" + bytes(4000),
        "box/notes.txt": b"Dear diary",
    }
    rows = colorize(files)
    assert {Path(name).name: row["status"] for name, row in rows.items()} == {
        "a.heic": "error", "b.cr2": "error", "damaged.jpg": "error",
        "._a.jpg": "skipped", "finding-aid.pdf": "skipped", "notes.txt": "skipped",
    }  # fmt: skip
    assert "Canon CR2" in rows["box/b.cr2"]["error"] and "PDF" in rows["box/finding-aid.pdf"]["error"]


def test_parquet_holds_what_files_would(colorize):
    """JPEG of JPEG, PNG of all else."""
    files = {"a.png": image(CAMERA, "PNG"), "b/c.jpg": image(data.coins(), "JPEG"), "bad.jpg": b"\xff\xd8\xff"}
    stored = colorize(files, format="keep")
    rows = colorize(files, format="parquet")
    assert {row["status"] for row in rows.values()} == {"ok", "error"}
    table = pq.read_table(rows["a.png"]["output"]).to_pylist()
    assert [row["image"]["path"] for row in table] == ["a.png.png", "b/c.jpg.jpg"]
    for row, name in zip(table, ("a.png", "b/c.jpg"), strict=True):
        assert row["image"]["bytes"] == output_of(stored[name]).read_bytes()


def test_files_that_vanish_or_cannot_be_stored_are_rows(tmp_path):
    (tmp_path / "scans").mkdir()
    for name in ("gone.png", "here.png", "unstorable.png"):
        (tmp_path / "scans" / name).write_bytes(image(CAMERA, "PNG"))
    files = listing.listing(str(tmp_path / "scans"))
    (tmp_path / "scans/gone.png").unlink()
    (tmp_path / "out/images/unstorable.png.png").mkdir(parents=True)  # something is in the way
    gone, here, unstorable = ColorizeActor(job(tmp_path / "scans", tmp_path / "out"))(files).to_pylist()
    assert (gone["status"], here["status"], unstorable["status"]) == ("error", "ok", "error")
    assert "reading it failed" in gone["error"] and "colouring it failed" in unstorable["error"]
    assert gone["finished_at"] and gone["source_sha256"] is None and unstorable["output"] is None


def test_what_is_decoded_at_a_time_is_bounded(tmp_path, monkeypatch):
    """In pixels, not in files: a bucket of small files may hold large scans."""
    (tmp_path / "scans").mkdir()
    for i in range(6):
        blank = np.full((1000, 1000 + i), 90, np.uint8)
        (tmp_path / f"scans/{i}.png").write_bytes(image(blank, "PNG"))
    reserved = []

    class Recording(ColorizeActor):
        def _predict(self, scans):
            reserved.append(len(scans))
            super()._predict(scans)

    monkeypatch.setattr(pipeline, "TOGETHER", 26_000_000)  # bytes: two of them
    rows = Recording(job(tmp_path / "scans", tmp_path / "out"))(listing.listing(str(tmp_path / "scans")))
    assert rows["status"].to_pylist() == ["ok"] * 6 and reserved == [2, 2, 2]


def test_a_photograph_that_three_processes_died_with_is_a_row(tmp_path):
    """From the second time on it is alone, so that no other photograph is blamed."""

    class Death(BaseException):
        """Ends a process as a crash would: nothing is tidied up."""

    class Dying(ColorizeActor):
        def _decode(self, scan):
            if scan.path in ("1.png", "3.png"):
                raise Death
            super()._decode(scan)

    for i in range(5):
        Path(tmp_path, "scans").mkdir(exist_ok=True)
        (tmp_path / f"scans/{i}.png").write_bytes(image(CAMERA[i:], "PNG"))
    files = listing.listing(str(tmp_path / "scans"))
    for _ in range(5):
        with pytest.raises(Death):
            Dying(job(tmp_path / "scans", tmp_path / "out"))(files)
    rows = Dying(job(tmp_path / "scans", tmp_path / "out"))(files).to_pylist()
    assert [row["status"] for row in rows] == ["ok", "error", "ok", "error", "ok"]
    assert "three times" in rows[1]["error"]
    assert not list(Path(scratch.folder()).glob(f"test-{os.getpid()}-*"))


def test_variants_and_confidence_map(colorize, tmp_path):
    """A TIFF of two pages: each variant has both; the map is of the first page's size."""
    pages = tiff(CAMERA, CAMERA[:128])
    row = colorize({"a.tif": pages}, format="keep", variants=3, confidence_map=True)["a.tif"]
    out = tmp_path / "out"
    assert row["status"] == "ok" and 0 <= row["confidence"] <= 1
    pictures = [tifffile.TiffFile(out / folder / "a.tif.tif") for folder in ("images", "variants/2", "variants/3")]
    assert all(len(picture.pages) == 2 for picture in pictures)
    first, *others = (picture.pages[0].asarray() for picture in pictures)
    for other in others:
        assert np.abs(first.astype(int) - other).mean() > 2
        assert np.array_equal(color.grey_of(other), CAMERA)
    confidence = np.asarray(Image.open(out / "confidence/a.tif.png"))
    assert confidence.shape == CAMERA.shape and confidence.dtype == np.uint8 and confidence.std() > 0


def test_what_is_not_coloured_has_no_confidence(colorize, tmp_path):
    page = np.full((300, 200), 255, np.uint8)
    page[40:260:12, 20:180] = 0
    row = colorize({"page.png": image(page, "PNG")}, confidence_map=True, variants=2)["page.png"]
    assert row["status"] == "ok" and row["kind"] == "text" and row["confidence"] is None
    assert not (tmp_path / "out/confidence").exists() and not (tmp_path / "out/variants").exists()


@pytest.fixture
def scans(tmp_path) -> Path:
    """Five photographs."""
    (tmp_path / "scans").mkdir()
    for i in range(5):
        (tmp_path / f"scans/{i}.png").write_bytes(image(CAMERA[i:], "PNG"))
    return tmp_path / "scans"


def test_a_file_is_counted_from_its_first_byte_on(scans, tmp_path, monkeypatch):
    """What kills its reader is read three times and never again."""

    class Death(BaseException):
        pass

    read = files.read_bytes

    def dying(uri, *arguments):
        if uri.endswith("2.png"):
            raise Death
        return read(uri, *arguments)

    monkeypatch.setattr(files, "read_bytes", dying)
    for _ in range(3):
        with pytest.raises(Death):
            ColorizeActor(job(scans, tmp_path / "out"))(listing.listing(str(scans)))
    rows = ColorizeActor(job(scans, tmp_path / "out"))(listing.listing(str(scans))).to_pylist()
    assert [row["status"] for row in rows] == ["ok", "ok", "error", "ok", "ok"] and "three times" in rows[2]["error"]


def test_files_of_hundreds_of_gigabytes_are_not_read(tmp_path):
    """Their first bytes say what they are, and their size that it is too much; none takes any room on the disk here."""
    (tmp_path / "scans").mkdir()
    beginnings = {"backup.img": b"", "film.mkv": b"\x1aE\xdf\xa3", "giant.tif": b"II*\x00\x08", "zeros.tif": b""}
    for name, beginning in beginnings.items():
        with open(tmp_path / "scans" / name, "wb") as file:
            file.write(beginning)
            file.truncate(300 * 10**9)
    (tmp_path / "scans/small.png").write_bytes(image(CAMERA, "PNG"))
    rows = ColorizeActor(job(tmp_path / "scans", tmp_path / "out"))(listing.listing(str(tmp_path / "scans")))
    found = {Path(row["source"]).name: (row["status"], row["error"]) for row in rows.to_pylist()}
    assert {name: status for name, (status, _) in found.items()} == {
        "backup.img": "skipped", "film.mkv": "skipped", "giant.tif": "error", "small.png": "ok", "zeros.tif": "error",
    }  # fmt: skip
    assert found["giant.tif"][1] == (
        "it has 300.0 GB, more than any photograph takes: cut it into parts, or check what it is"
    )


def test_files_are_read_under_the_machine_s_admission(scans, tmp_path):
    room = []

    class Recording(ColorizeActor):
        def _read(self, scan):
            room.append(self.file_room.held)
            super()._read(scan)

    actor = Recording(job(scans, tmp_path / "out"))
    assert actor(listing.listing(str(scans)))["status"].to_pylist() == ["ok"] * 5
    assert room == [1] * 5 and actor.file_room.held == 0


class Failing(ColorizeActor):
    """Its network fails with some pictures: of a height, of several at a time, or with any."""

    heights: tuple = ()
    several = always = False

    def __init__(self, job):
        super().__init__(job)
        predict = self.colorizer.predict

        def failing(greys, *arguments, **options):
            if self.always or (self.several and len(greys) > 1) or any(grey.shape[0] in self.heights for grey in greys):
                raise RuntimeError("CUDA out of memory.\nTried to allocate 20 GiB")
            return predict(greys, *arguments, **options)

        self.colorizer.predict = failing


def test_a_photograph_that_the_network_fails_with_is_a_row(scans, tmp_path):
    class OneFails(Failing):
        heights = (254,)

    rows = OneFails(job(scans, tmp_path / "out"))(listing.listing(str(scans))).to_pylist()
    assert [row["status"] for row in rows] == ["ok", "ok", "error", "ok", "ok"]
    assert rows[2]["error"] == (
        "the network failed with it, but not with others (RuntimeError: CUDA out of memory.): please report this"
    )


def test_photographs_that_are_too_many_at_a_time_are_coloured_one_by_one(scans, tmp_path):
    class TooMany(Failing):
        several = True

    rows = TooMany(job(scans, tmp_path / "out"))(listing.listing(str(scans))).to_pylist()
    assert [row["status"] for row in rows] == ["ok"] * 5


def test_a_device_that_fails_blames_no_photograph(scans, tmp_path, monkeypatch):
    """The process ends and another one starts; after three of them the job ends with a sentence."""

    class Ended(BaseException):
        pass

    class Broken(Failing):
        always = True

    def end():
        raise Ended

    class BrokenFromTheStart(Broken):
        def _device_error(self):
            return pipeline.DeviceError("RuntimeError: no CUDA GPUs are available")

    monkeypatch.setattr(pipeline, "_end_process", end)
    told = job(scans, tmp_path / "out", run=f"broken-{os.getpid()}")
    for actor in (Broken, BrokenFromTheStart):
        with pytest.raises(Ended):
            actor(told)(listing.listing(str(scans)))
    with pytest.raises(JobFailed, match=f"with any picture on the machine {socket.gethostname()} .*CUDA out of memory"):
        Broken(told)(listing.listing(str(scans)))
    assert ColorizeActor(told)(listing.listing(str(scans)))["status"].to_pylist() == ["ok"] * 5
    assert not list(Path(scratch.folder()).glob(f"broken-{os.getpid()}-*")), "what went well is forgotten"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EIO])
def test_what_storage_refuses_is_done_again(scans, tmp_path, monkeypatch, number):
    """An empty version is that of no file: the same command tries again."""
    write = files.write_bytes

    def refusing(uri, *arguments):
        if uri.endswith("3.png.png"):
            raise OSError(number, os.strerror(number))
        write(uri, *arguments)

    monkeypatch.setattr(files, "write_bytes", refusing)
    rows = ColorizeActor(job(scans, tmp_path / "out"))(listing.listing(str(scans))).to_pylist()
    assert [row["status"] for row in rows] == ["ok", "ok", "ok", "error", "ok"]
    assert rows[3]["source_version"] == "" and rows[0]["source_version"]
    assert "could not be stored" in rows[3]["error"] and os.strerror(number) in rows[3]["error"]


def test_a_name_that_no_file_can_have_is_the_photograph_s_own(tmp_path):
    name = "x" * 250 + ".png"
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / name).write_bytes(image(CAMERA, "PNG"))
    (row,) = ColorizeActor(job(tmp_path / "scans", tmp_path / "out"))(
        listing.listing(str(tmp_path / "scans"))
    ).to_pylist()
    assert row["status"] == "error" and "File name too long" in row["error"] and row["source_version"]


def test_a_worker_that_does_not_see_output_ends_the_job(scans, tmp_path, monkeypatch):
    """As one on another machine does, where OUTPUT is a folder of that machine."""
    monkeypatch.setattr(preflight, "PATIENCE", 0.0)
    told = replace(job(scans, tmp_path / "out"), hold=output.Hold(output.LEASE, "ours"))
    for content in (None, "{", '{"token": "another"}'):
        if content:
            files.write_bytes(f"{told.output}/{output.LEASE}", content.encode())
        with pytest.raises(JobFailed, match=r"does not see the .*/out that this job writes to \(.*all machines share"):
            ColorizeActor(told)(listing.listing(str(scans)))
    assert not (tmp_path / "out/images").exists()
    files.write_bytes(f"{told.output}/{output.LEASE}", b'{"token": "ours"}')
    assert ColorizeActor(told)(listing.listing(str(scans)))["status"].to_pylist() == ["ok"] * 5
