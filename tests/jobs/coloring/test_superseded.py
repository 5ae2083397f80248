"""A picture of before goes where its photograph has another one now, if it lies in OUTPUT; aside if it was changed."""

import hashlib
import os

import pyarrow as pa
import pytest

from jobs.coloring import superseded
from jobs.storage.catalog import SCHEMA, Catalog
from jobs.storage.output import Place


@pytest.fixture
def output(tmp_path) -> str:
    return str(tmp_path / "out")


def store(output: str, name: str) -> None:
    """The colour photograph of the only scan."""
    picture = os.path.join(output, "images", name)
    os.makedirs(os.path.dirname(picture), exist_ok=True)
    with open(picture, "wb") as file:
        file.write(name.encode())
    row = {"id": "a", "status": "ok", "output": picture, "output_sha256": hashlib.sha256(name.encode()).hexdigest()}
    Catalog(output).append(pa.Table.from_pylist([row], SCHEMA))


def settle(output: str, before: pa.Table) -> list[str]:
    """What is left in images, and aside."""
    superseded.settle(before, Catalog(output), place := Place(output))
    found = (path for folder in ("images", "aside") for path in place.fs.find(f"{output}/{folder}"))
    return sorted(os.path.relpath(path, output) for path in found)


def before(output: str) -> pa.Table:
    return superseded.coloured(Catalog(output), pa.table({"id": ["a"], "why": ["changed since"]}))


def test_a_picture_with_another_name_goes(output):
    store(output, "a.jpg.png")
    old = before(output)
    store(output, "a.jpg.jpg")
    assert settle(output, old) == ["images/a.jpg.jpg"]


def test_what_somebody_has_changed_is_put_aside(output):
    store(output, "a.jpg.png")
    old = before(output)
    with open(f"{output}/images/a.jpg.png", "wb") as file:
        file.write(b"retouched")
    store(output, "a.jpg.jpg")
    assert settle(output, old) == ["aside/images/a.jpg.png", "images/a.jpg.jpg"]


def test_what_a_killed_job_has_left_goes_and_what_nobody_could_make_again_is_named(output):
    """Its rows are there, but it has not seen to the pictures of before."""
    store(output, "a.jpg.png")
    store(output, "a.jpg.jpg")
    nothing = pa.table({"id": pa.array([], pa.string()), "why": pa.array([], pa.string())})
    assert settle(output, superseded.coloured(Catalog(output), nothing)) == ["images/a.jpg.jpg"]
    Catalog(output).append(pa.Table.from_pylist([{"id": "a", "status": "error", "error": "gone"}], SCHEMA))
    assert settle(output, before(output)) == ["images/a.jpg.jpg"]
    (row,) = Catalog(output).read().to_pylist()
    assert (row["output"], row["error"]) == (f"{output}/images/a.jpg.jpg", "gone")
    os.remove(f"{output}/images/a.jpg.jpg")
    Catalog(output).append(pa.Table.from_pylist([row | {"output": None}], SCHEMA))
    settle(output, before(output))
    assert Catalog(output).read(["output"]).to_pylist() == [{"output": None}], "it names no picture that is not there"


def test_a_picture_in_another_place_stays(output, tmp_path):
    """That is where OUTPUT was, or what it was called, when the row was written."""
    store(output, "a.jpg.png")
    os.symlink(output, link := str(tmp_path / "link"))
    old = before(link)
    store(link, "a.jpg.jpg")
    assert settle(link, old) == ["images/a.jpg.jpg", "images/a.jpg.png"]
