"""What IIIF viewers are offered of an archive."""

import hashlib
import json
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.csv
import pytest

from jobs import cli, review
from jobs.cli import UsageError
from jobs.pages import iiif
from jobs.storage.catalog import SCHEMA, Catalog
from jobs.storage.output import MARKER

SERVED, ORIGINALS = "https://archive.example/colour/", "https://archive.example/my scans".replace(" ", "%20")
NAMES = ["title.png", "1912/a.jpg", "1912/b #2.tif", "1912/may/東京.png", r"1912/may/caf\udce9.png"]


@pytest.fixture
def archive(tmp_path) -> Path:
    """An OUTPUT with a row for each of ``NAMES``, and of some that have no colours; the pictures are not looked at."""
    output, scans = tmp_path / "out", tmp_path / "scans"
    row = {"status": "ok", "width": 40, "height": 30, "model": "lite2@0123", "colorfulness": 12.0, "confidence": 0.61}
    rows = [row | {"source": f"{scans}/{name}", "output": f"{output}/images/{name}.png"} for name in NAMES]
    rows += [
        row | {"source": f"{scans}/text.png", "output": f"{output}/images/text.png.png", "colorfulness": 0.0},
        row | {"source": f"{scans}/no.png", "output": f"{output}/images/no.png.png", "decision": "reject"},
        row | {"source": f"{scans}/color.png", "output": None, "status": "skipped", "colorfulness": None},
        {"source": f"{scans}/notes.txt", "status": "skipped"},
    ]
    rows = [{"id": hashlib.sha256(row["source"].encode()).hexdigest()[:32]} | row for row in rows]
    Catalog(str(output)).append(pa.Table.from_pylist(rows, SCHEMA))
    (output / MARKER).write_text(json.dumps({"kind": "archive", "source": str(scans)}))
    return output


def found(output: Path, address: str) -> dict:
    """What a web server would answer."""
    return json.loads((output / unquote(address.removeprefix(SERVED), errors="surrogateescape")).read_bytes())


def canvases(output: Path) -> dict[str, dict]:
    """By the paths of the photographs, all that a viewer finds from the first collection on."""
    collected, ways = {}, [("", iiif.write(str(output), SERVED, ORIGINALS))]
    while ways:
        folder, address = ways.pop()
        thing = found(output, address)
        assert thing["id"] == address
        for item in thing["items"]:
            (label,) = item["label"]["none"]
            if thing["type"] == "Manifest":
                collected[f"{folder}{label}"] = item
            else:
                inner = "" if label in ("Photographs", folder.rstrip("/").rpartition("/")[2]) else f"{label}/"
                ways.append((f"{folder}{inner}", item["id"]))
    return collected


def body(canvas: dict) -> dict:
    ((annotation,),) = (page["items"] for page in canvas["items"])
    assert annotation["motivation"] == "painting" and annotation["target"] == canvas["id"]
    return annotation["body"]


def test_each_photograph_is_a_choice_of_the_original_and_its_colours(archive):
    shown = canvases(archive)
    assert set(NAMES) <= set(shown), "every folder leads to its photographs"
    choice = body(shown["1912/b #2.tif"])
    original, colours = choice["items"]
    assert choice["type"] == "Choice" and original["label"]["en"] == ["Original"], "the original comes first"
    assert original["id"] == f"{ORIGINALS}/1912/b%20%232.tif" and original["format"] == "image/tiff"
    assert colours["id"] == f"{SERVED}images/1912/b%20%232.tif.png" and "machine" in colours["label"]["en"][0]
    assert (colours["width"], colours["height"]) == (40, 30)
    assert body(shown[NAMES[-1]])["items"][0]["id"].endswith("/caf%E9.png"), "a name that is not UTF-8"


def test_what_has_no_colours_to_show_shows_the_original_alone(archive):
    shown = canvases(archive)
    assert {name for name in shown if body(shown[name])["type"] == "Image"} == {"text.png", "no.png", "color.png"}
    assert "notes.txt" not in shown


def test_a_kept_library_finds_nothing_wrong(archive):
    """It asks for a Pillow older than ours, so that it cannot be among what the tests install."""
    prezi = pytest.importorskip("iiif_prezi3", reason="for want of iiif-prezi3: pip install --no-deps iiif-prezi3")
    iiif.write(str(archive), SERVED, ORIGINALS)
    manifests = list(archive.glob("iiif/**/manifest.json"))
    for path in manifests:
        manifest = prezi.Manifest(**json.loads(path.read_bytes()))
        assert "Machine-made" in manifest.requiredStatement.value["none"][0]
    collections = [
        prezi.Collection(**json.loads(path.read_bytes())) for path in archive.glob("iiif/**/collection.json")
    ]
    assert len(manifests) == 3 and len(collections) == 2


@pytest.mark.parametrize("url", ["/srv/colour", "ftp://a.example/b", "https://", "https://a.example/b?c"])
def test_a_place_that_no_viewer_reaches_is_refused(archive, url):
    with pytest.raises(UsageError, match=r"is not the URL of a folder, such as https://archive\.example/colour"):
        iiif.write(str(archive), url, ORIGINALS)


def test_the_record_has_every_input_with_its_digests_and_what_people_decided(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(review.page, "write", lambda output: "page")
    record = tmp_path / "record.csv"
    assert review.main(review.ReviewConfig(str(archive), record=str(record))) == cli.OK
    table = pyarrow.csv.read_csv(record)
    assert len(table) == len(NAMES) + 4 and {"source_sha256", "output_sha256", "model"} <= set(table.column_names)
    assert table["decision"].to_pylist().count("reject") == 1
    assert review.main(review.ReviewConfig(str(archive), record=str(record))) == cli.OK, "it is brought up to date"
    record.write_text("id,where it hangs\n")
    with pytest.raises(UsageError, match="is there already and has other columns"):
        review.main(review.ReviewConfig(str(archive), record=str(record)))
    assert record.read_text() == "id,where it hangs\n"
    with pytest.raises(UsageError, match="go together"):
        review.ReviewConfig(str(archive), iiif=SERVED)


def test_nothing_is_written_elsewhere_whatever_a_catalogue_says(archive, tmp_path):
    row = {"id": "f" * 32, "source": f"{tmp_path}/scans/../../x/a.png", "status": "ok", "width": 40, "height": 30}
    Catalog(str(archive)).append(pa.Table.from_pylist([row], SCHEMA))
    with pytest.raises(UsageError, match="leads out of it"):
        iiif.write(str(archive), SERVED, ORIGINALS)
