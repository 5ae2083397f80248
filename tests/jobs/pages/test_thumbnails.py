"""The small pictures of the review page."""

import io

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import ExifTags, Image
from skimage import data

from colorize_core import encoding
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.worker import ColorizeActor
from jobs.pages import thumbnails
from jobs.pages.review import page as review_page
from jobs.pages.review import pictures
from jobs.storage import listing
from jobs.storage.catalog import Catalog


def pixels(thumbnail: thumbnails.Thumbnail) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(thumbnail["jpeg"])))


@pytest.mark.parametrize("size", [(100, 60), (450, 300), (1600, 2000)], ids=str)
@pytest.mark.parametrize("bits", [8, 16])
def test_pixels_in_memory_and_stored_give_the_same(size, bits):
    rgb = cv2.resize(cv2.GaussianBlur(data.astronaut(), (0, 0), 6), size)
    expected = np.asarray(Image.fromarray(rgb).resize(tuple(round(n * min(1, 320 / max(size))) for n in size)))
    rgb = rgb if bits == 8 else rgb.astype(np.uint16) * 257
    made = thumbnails.of_pixels(rgb, None)
    assert pixels(made).shape == expected.shape
    assert np.abs(pixels(made).astype(int) - expected).mean() < 4
    stored = thumbnails.of_file(encoding.encode(rgb, "png"))
    assert np.abs(pixels(stored).astype(int) - pixels(made)).mean() <= (0 if bits == 8 else 1)


def test_the_words_of_exif_become_the_caption():
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = b"UNICODE\0" + "Grandmother, Łódź".encode("utf-16-le")
    stored = io.BytesIO()
    Image.fromarray(data.astronaut()).save(stored, "JPEG", exif=exif)
    for made in (thumbnails.of_pixels(data.astronaut(), exif.tobytes()), thumbnails.of_file(stored.getvalue())):
        assert made["caption"] == "Grandmother, Łódź"


@pytest.mark.parametrize("format", ["png", "parquet"])
def test_the_page_takes_those_of_the_workers(tmp_path, format, monkeypatch):
    scans, output = tmp_path / "scans", str(tmp_path / "out")
    scans.mkdir()
    for name in ("astronaut", "chelsea", "rocket"):
        Image.fromarray(getattr(data, name)()).convert("L").save(scans / f"{name}.jpg")
    config = ColorizeConfig(source=str(scans), output=output, format=format)
    Catalog(output).append(ColorizeActor(config.job)(listing.listing(config.source)))
    colours = {row["output_sha256"] for row in Catalog(output).read().to_pylist()}
    assert set(thumbnails.kept(output)["output_sha256"].to_pylist()) == colours

    (tmp_path / "out/review/made/torn.parquet").write_bytes(b"PAR1")

    def stored(rows, output):
        assert not rows, "reads what is stored"
        return iter(())

    monkeypatch.setattr(review_page, "CLOSER", 0)
    monkeypatch.setattr(pictures, "_stored", stored)
    review_page.write(output)
    assert set(pq.read_table(f"{output}/review/thumbnails.parquet")["output_sha256"].to_pylist()) == colours
    left = [path.name for path in (tmp_path / "out/review/made").iterdir()]
    assert left == ["torn.parquet"], "what does not prove to be ours is left alone"


def test_without_a_page_there_are_none(tmp_path):
    (tmp_path / "scans").mkdir()
    Image.fromarray(data.camera()).save(tmp_path / "scans/camera.jpg")
    config = ColorizeConfig(source=str(tmp_path / "scans"), output=str(tmp_path / "out"), review=False)
    (row,) = ColorizeActor(config.job)(listing.listing(config.source)).to_pylist()
    assert row["status"] == "ok" and not (tmp_path / "out/review").exists()
