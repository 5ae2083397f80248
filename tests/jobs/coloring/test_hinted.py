"""Colours that people know: from the lists that they hand in to the photographs."""

import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from colorize_core import color, photo
from colorize_core.colorizer import Colorizer
from colorize_core.hints import Hint, chroma_of
from jobs import cli, colorize
from jobs.cli import UsageError
from jobs.coloring import hinted
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.identity import identified
from jobs.coloring.worker import ColorizeActor
from jobs.pages import decisions
from jobs.storage import files, listing
from jobs.storage.catalog import Catalog
from tests.jobs.coloring.test_worker import CAMERA, job

GREEN = "#2e8b57"
pytestmark = pytest.mark.usefixtures("all_beside")


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    (folder / "a").mkdir(parents=True)
    for name in ("a/coat.png", "a/other.png", files.unprintable(r"a/caf\udce9.png")):
        Image.fromarray(CAMERA).save(folder / name)
    return folder


def sources(scans):
    return identified(listing.listing(str(scans)), "png", False)[0]


def read(scans, text: str) -> dict[str, list[dict]]:
    path = scans.parent / "hints.csv"
    path.write_text(text)
    table = sources(scans)
    names = dict(zip(table["id"].to_pylist(), table["path"].to_pylist(), strict=True))
    return {names[id].decode("utf-8", "surrogateescape"): found for id, found in hinted.read(str(path), table).items()}


def test_a_table_of_hints(scans):
    found = read(scans, f"path,x,y,color,radius\na/coat.png,10,20.5,{GREEN.upper()},4\na/coat.png,1,2,none,\n")
    assert found == {
        "a/coat.png": [
            {"x": 10.0, "y": 20.5, "color": GREEN, "radius": 4.0}, {"x": 1.0, "y": 2.0, "color": "none", "radius": 0.0}
        ]
    }  # fmt: skip
    assert read(scans, "path,x,y,color\na/coat.png,,,\n") == {"a/coat.png": []}, "a path alone takes them back"
    assert len(read(scans, "path,x,y,color\na/caf\\udce9.png,1,1,none\n")) == 1, "as the catalogue spells it"


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("path,x,y\na/coat.png,1,2\n", "has no column color"),
        ("", "has no column path"),
        ("path,x,y,color\na/coat.png,1,2,green\n", "line 2: no hint ('green' is no colour)"),
        ("path,x,y,color\na/coat.png,1,two,none\n", "line 2: no hint"),
        ("path,x,y,color\na/coat.png,-1,2,none\n", "numbers must be 0 or more"),
        ("path,x,y,color\na/coat.png,nan,2,none\n", "numbers must be 0 or more"),
        ("path,x,y,color\nb/coat.png,1,2,none\n", "SOURCE does not hold, such as b/coat.png"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(scans, text, sentence):
    with pytest.raises(UsageError) as error:
        read(scans, text)
    assert sentence in str(error.value)


def test_the_review_pages_json_may_have_hints(tmp_path):
    path = tmp_path / "decisions.json"
    hint = {"x": 3, "y": 4, "color": GREEN, "radius": 2}
    path.write_text(json.dumps([{"id": "1", "decision": "redo", "hints": [hint]}, {"id": "2", "decision": "keep"}]))
    said = decisions.read(str(path))
    assert said.decisions == {"1": "redo", "2": "keep"} and said.hints == {"1": [hint]}
    path.write_text(json.dumps([{"id": "1", "decision": "redo", "hints": [{"x": 3, "y": 4}]}]))
    with pytest.raises(UsageError, match="photograph 1: no hint"):
        decisions.read(str(path))


def test_the_job_colours_as_python_does_and_keeps_the_scan(scans, tmp_path):
    table, output = sources(scans), tmp_path / "out"
    hint = {"x": 60.0, "y": 200.0, "color": GREEN, "radius": 20.0}
    (id,) = (row["id"] for row in table.to_pylist() if row["path"] == b"a/coat.png")
    todo = hinted.hinted(table, Catalog(str(output)).read(), {id: [hint]})
    rows = {row["source"].rpartition("/")[2]: row for row in ColorizeActor(job(scans, output))(todo).to_pylist()}
    row, plain = rows["coat.png"], rows["other.png"]
    assert row["hints"] == [hint] and plain["hints"] is None
    hinted_rgb, plain_rgb = (
        photo.read((output / f"images/a/{name}.png").read_bytes()).rgb for name in rows if "caf" not in name
    )
    given = [Hint(60, 200, chroma_of(GREEN), 20)]
    (colouring,) = Colorizer.load(device="cpu").predict([CAMERA], hints=[given])
    np.testing.assert_array_equal(hinted_rgb, color.merge(CAMERA, colouring.chroma[0]))
    np.testing.assert_array_equal(color.grey_of(hinted_rgb), CAMERA)
    difference = color.rgb_to_lab(hinted_rgb)[..., 1] - color.rgb_to_lab(plain_rgb)[..., 1]
    assert difference[195:205, 55:65].mean() < -5, "greener there"


def test_provenance_says_that_a_person_gave_colours(scans, tmp_path):
    table, output = sources(scans), tmp_path / "out"
    given = {id: [{"x": 60.0, "y": 200.0, "color": GREEN, "radius": 20.0}] for id in table["id"].to_pylist()[:1]}
    ColorizeActor(job(scans, output))(hinted.hinted(table, Catalog(str(output)).read(), given))
    packets = [photo.read(path.read_bytes()).xmp for path in sorted(output.rglob("images/**/*.png"))]
    guided = [packet for packet in packets if b"a person gave the colours of 1 place<" in packet]
    assert len(guided) == 1 and all(b"compositeWithTrainedAlgorithmicMedia" in packet for packet in packets)


def test_hints_hold_for_the_file_that_they_were_said_of(scans, tmp_path):
    """Scans that are numbered anew bring other pictures under the same names."""
    output = tmp_path / "out"
    (tmp_path / "hints.csv").write_text(f"path,x,y,color\na/coat.png,60,200,{GREEN}\na/other.png,60,200,{GREEN}\n")

    def hints() -> dict[str, list[dict] | None]:
        rows = Catalog(str(output)).read(["source", "hints"]).to_pylist()
        return {row["source"].rpartition("/")[2]: row["hints"] for row in rows}

    assert colorize.main(ColorizeConfig(str(scans), str(output), hints=str(tmp_path / "hints.csv"), review=False)) == 0
    first = hints()
    assert first["coat.png"] and first["other.png"]
    os.replace(scans / "a/other.png", tmp_path / "there.png")
    (scans / "a/other.png").write_bytes((tmp_path / "there.png").read_bytes())  # the same one, copied
    Image.fromarray(CAMERA[::-1]).save(scans / "a/coat.png")
    assert colorize.main(ColorizeConfig(str(scans), str(output), review=False)) == 0
    assert hints() == first | {"coat.png": None}


def test_a_hint_outside_its_photograph_is_an_error_row(scans, tmp_path):
    table, output = sources(scans), tmp_path / "out"
    given = {id: [{"x": 1e4, "y": 0.0, "color": "none", "radius": 0.0}] for id in table["id"].to_pylist()[:1]}
    rows = ColorizeActor(job(scans, output))(hinted.hinted(table, Catalog(str(output)).read(), given)).to_pylist()
    assert [row["status"] for row in rows].count("error") == 1
    (error,) = (row["error"] for row in rows if row["error"])
    assert error == "its hint at (10000, 0) lies outside of its 320 x 256 pixels: correct it"


def test_weights_without_hints_say_so(scans, tmp_path):
    (tmp_path / "hints.csv").write_text(f"path,x,y,color\na/coat.png,60,200,{GREEN}\n")
    options = {"source": str(scans), "output": str(tmp_path / "out"), "hints": str(tmp_path / "hints.csv")}
    with pytest.raises(UsageError, match="trained without hints"):
        colorize.main(ColorizeConfig(**options, weights="resnet18"))
    assert colorize.main(ColorizeConfig(**options, review=False)) == cli.OK
    rows = pq.read_table(tmp_path / "out/catalog").to_pylist()
    assert sorted(len(row["hints"] or []) for row in rows) == [0, 0, 1]
