"""The bulk job, on a small archive with good and bad files."""

import ctypes
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import ExifTags, Image, ImageOps

from colorize_core import photo, xmp
from colorize_core.color import rgb_to_lab
from colorize_core.colorizer import Colorizer
from colorize_core.weights_file import WeightsError, WeightsFile
from jobs import cli, colorize
from jobs.cli import UsageError
from jobs.coloring import pool, preflight
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.worker import ColorizeActor
from jobs.storage.catalog import SCHEMA, Catalog
from tests import foreign
from tests.oracle import fraction_kept

STATUS = {
    "coffee-16-bit.tif": "ok",
    "notes.txt": "skipped",
    "places/motorcycle.png": "ok",
    "places/rocket-cut-short.jpg": "error",
    "places/rocket.jpg": "ok",
    "portraits/astronaut.jpg": "ok",
    "portraits/cameraman.png": "ok",
    "portraits/chelsea.jpg": "ok",
}


def run(source, output, **options) -> int:
    return colorize.main(ColorizeConfig(source=str(source), output=str(output), **options))


def catalog(output) -> dict[str, dict]:
    """Rows by path relative to the source; reads the bare files, as any user of Parquet would."""
    rows = pq.read_table(f"{output}/catalog").to_pylist()
    assert len({row["id"] for row in rows}) == len(rows), "an input has two rows"
    return {row["source"].partition("/scans/")[2]: row for row in rows}


def outputs(output) -> dict[str, bytes]:
    images = Path(output, "images")
    return {str(path.relative_to(images)): path.read_bytes() for path in sorted(images.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def job(ray_local, samples, tmp_path_factory):
    """(exit status, scans, output) of one run over the sample archive."""
    output = tmp_path_factory.mktemp("colour")
    return run(samples / "scans", output), samples / "scans", output


def test_every_input_has_a_row_and_every_good_one_a_photograph(job):
    status, _, output = job
    rows = catalog(output)
    assert status == 3, "some inputs have error rows"
    assert {path: row["status"] for path, row in rows.items()} == STATUS
    assert sorted(outputs(output)) == sorted(f"{path}.png" for path, status in STATUS.items() if status == "ok")
    assert "cut short" in rows["places/rocket-cut-short.jpg"]["error"]
    assert "not an image" in rows["notes.txt"]["error"]


def test_photographs_keep_size_depth_and_grey(job):
    _, scans, output = job
    for path, row in catalog(output).items():
        if row["status"] != "ok":
            continue
        scan, colour = photo.read((scans / path).read_bytes()), photo.read(Path(row["output"]).read_bytes())
        assert colour.pixels.dtype == scan.pixels.dtype and colour.bits == row["bits"]
        assert colour.pixels.shape == (*scan.grey.shape, 3) == (row["height"], row["width"], 3)
        assert fraction_kept(scan.grey, colour.pixels) == 1.0
    assert rows_of(output, "bits") == {8, 16}


def rows_of(output, column: str) -> set:
    return {row[column] for row in catalog(output).values() if row["status"] == "ok"}


def test_rows_tell_what_was_done(job):
    _, scans, output = job
    table = pq.read_table(f"{output}/catalog")
    assert table.schema.names == SCHEMA.names
    rows = catalog(output)
    row = rows["portraits/astronaut.jpg"]
    assert row["source"] == str(scans / "portraits/astronaut.jpg")
    assert row["source_sha256"] == hashlib.sha256((scans / "portraits/astronaut.jpg").read_bytes()).hexdigest()
    assert row["output_sha256"] == hashlib.sha256(Path(row["output"]).read_bytes()).hexdigest()
    assert row["model"] == WeightsFile.read().model
    assert row["colorfulness"] > 1 and row["seconds"] > 0 and row["finished_at"].year > 2000
    assert rows["places/rocket-cut-short.jpg"]["output"] is None


def test_photographs_carry_what_the_scan_carried_and_say_who_coloured_them(job):
    _, _, output = job
    image = Image.open(output / "images/portraits/chelsea.jpg.png")
    assert image.getexif()[ExifTags.Base.DateTime] == "1969:07:20 20:17:40"
    assert ExifTags.Base.Orientation not in image.getexif() and image.size == (451, 300)
    description = image.getxmp()["xmpmeta"]["RDF"]["Description"]
    assert description["DigitalSourceType"] == xmp.DIGITAL_SOURCE_TYPE
    assert WeightsFile.read().model in description["AISystemVersionUsed"]
    tiff = Image.open(output / "images/coffee-16-bit.tif.png")
    assert round(tiff.info["dpi"][0]) == 600


def test_the_job_colours_as_the_plain_path_does(job):
    _, scans, output = job
    plain = Colorizer.load("default", "cpu").colorize(photo.read((scans / "places/motorcycle.png").read_bytes()))
    assert np.abs(plain.astype(int) - np.asarray(Image.open(output / "images/places/motorcycle.png.png"))).max() <= 1


def test_the_same_command_again_does_nothing_and_changes_are_noticed(job, capsys, tmp_path, samples):
    import shutil

    scans, output = tmp_path / "scans", tmp_path / "out"
    (scans / "sub").mkdir(parents=True)
    Image.fromarray(np.full((40, 60), 90, np.uint8)).save(scans / "a.png")
    (scans / "sub/broken.jpg").write_bytes(b"\xff\xd8\xff")
    assert run(scans, output) == 3
    before = outputs(output), pq.read_table(f"{output}/catalog")
    capsys.readouterr()

    assert run(scans, output) == 3
    assert "2 already done" in capsys.readouterr().out
    assert (outputs(output), pq.read_table(f"{output}/catalog")) == before

    Image.fromarray(np.full((50, 60), 90, np.uint8)).save(scans / "sub/b.png")  # a new one
    Image.fromarray(np.full((30, 60), 90, np.uint8)).save(scans / "a.png")  # a changed one
    assert run(scans, output) == 3
    assert "1 already done" in capsys.readouterr().out
    assert {path: row["height"] for path, row in catalog(output).items()} == {
        "a.png": 30,
        "sub/b.png": 50,
        "sub/broken.jpg": None,
    }

    shutil.copy(scans / "a.png", scans / "sub/spare.png")
    os.replace(scans / "sub/spare.png", scans / "sub/broken.jpg")  # mended: a PNG, whatever its name says
    os.chmod(scans / "a.png", 0o644)
    assert run(scans, output) == 0
    assert catalog(output)["sub/broken.jpg"]["status"] == "ok"


def test_names_from_everywhere(ray_local, tmp_path):
    latin_1 = os.fsdecode(b"caf\xe9.png")  # not UTF-8, as old disks have them
    names = ["a.jpg.png", "a.png", "spaß & 東京 'quote\".png", "[1].png", "100%.png", latin_1]
    (tmp_path / "scans").mkdir()
    for name in names:
        with open(tmp_path / "scans" / name, "wb") as file:
            Image.fromarray(np.full((32, 32), 90, np.uint8)).save(file, "PNG")
    assert run(tmp_path / "scans", tmp_path / "out") == 0
    assert sorted(outputs(tmp_path / "out")) == sorted(f"{name}.png" for name in names)
    assert r"caf\udce9.png" in catalog(tmp_path / "out")


def test_a_killed_job_continues_and_two_actors_equal_one(ray_local, tmp_path, samples):
    scans, output = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    base = np.asarray(Image.open(samples / "scans/places/motorcycle.png"))
    for i in range(48):
        Image.fromarray(base[i : i + 256, i : i + 320]).save(scans / f"{i:02d}.png")
    assert run(scans, tmp_path / "undisturbed", actors="1") == 0

    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "jobs.colorize", str(scans), str(output), "--actors", "2"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(output.glob("images/*.png")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    written = len(list(output.glob("images/*.png")))
    assert 0 < written < 48, "the kill came too early or too late to show anything"

    assert run(scans, output) == 0
    assert len(catalog(output)) == 48
    assert outputs(output) == outputs(tmp_path / "undisturbed")
    leftovers = list(output.rglob(".*"))
    assert not leftovers


def test_s3_in_and_out(ray_local, samples):
    s3 = fsspec.filesystem("s3")
    s3.mkdir("archive")
    s3.put(str(samples / "scans"), "archive/scans", recursive=True)
    assert run("s3://archive/scans", "s3://archive/colour") == 3
    found = s3.find("archive/colour/images")
    assert len(found) == sum(status == "ok" for status in STATUS.values())
    Image.open(io.BytesIO(s3.cat_file("archive/colour/images/places/rocket.jpg.png"))).load()
    rows = pq.read_table("archive/colour/catalog", filesystem=s3).to_pylist()
    assert {row["source"].removeprefix("s3://archive/scans/"): row["status"] for row in rows} == STATUS
    assert run("s3://archive/scans", "s3://archive/colour") == 3, "and again, with nothing to do"


def test_difficult_files(ray_local, shared, tmp_path):
    assert run(shared / "odd", tmp_path, format="keep", if_color="recolor") == 3
    rows = pq.read_table(tmp_path / "catalog").to_pylist()
    assert len(rows) == 173
    for row in rows:
        if row["status"] == "ok":
            with Image.open(row["output"]) as image:
                assert ImageOps.exif_transpose(image).size == (row["width"], row["height"])
        else:
            assert row["status"] == "error" and len(row["error"]) > 40
    assert sum(row["status"] == "ok" for row in rows) == 152


def hold_the_gil(seconds: int) -> None:
    """As a decoder written in C can: no other thread of the process runs meanwhile."""
    ctypes.PyDLL(None).sleep(seconds)


class FaultyActor(ColorizeActor):
    """Its decoder crashes its process at some photographs, and hangs at others. These alone are pressed for time, so
    that on a busy machine no other one is late."""

    def _colorize(self, scans):
        told = self.job
        if any("hang" in scan.path for scan in scans):
            self.job = replace(told, timeout=told.timeout / 60)
        super()._colorize(scans)
        self.job = told

    def _decode(self, scan):
        if "crash" in scan.path:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "hang" in scan.path:
            hold_the_gil(600)
        super()._decode(scan)


def test_a_file_that_crashes_or_hangs_the_decoder_is_a_row(ray_local, tmp_path, monkeypatch):
    (tmp_path / "scans").mkdir()
    for i in range(20):
        name = {7: "crash.png", 13: "hang.png"}.get(i, f"{i:02d}.png")
        Image.fromarray(np.full((32, 40 + i), 90, np.uint8)).save(tmp_path / "scans" / name)
    monkeypatch.setattr(pool, "ColorizeActor", FaultyActor)
    assert run(tmp_path / "scans", tmp_path / "out", timeout=30.0, actors="1") == 3
    rows = catalog(tmp_path / "out")
    assert len(rows) == 20
    assert {path for path, row in rows.items() if row["status"] != "ok"} == {"crash.png", "hang.png"}
    assert "three times" in rows["crash.png"]["error"] and "longer than 30 s" in rows["hang.png"]["error"]
    assert "--timeout" in rows["hang.png"]["error"]


def test_a_hopeless_job_stops_early(ray_local, tmp_path, capsys):
    (tmp_path / "scans").mkdir()
    for i in range(200):
        (tmp_path / f"scans/{i:03d}.jpg").write_bytes(b"\xff\xd8\xff" + bytes([i]))
    assert run(tmp_path / "scans", tmp_path / "out", max_error_rate=0.5) == 1
    assert "--max-error-rate 0.5" in capsys.readouterr().err
    assert 100 <= len(catalog(tmp_path / "out")) <= 200, "what was done is recorded"


def test_for_machines_and_without_doing_anything(ray_local, tmp_path, samples, capsys):
    options = {"source": str(samples / "scans"), "output": str(tmp_path / "out"), "format": "parquet", "json": True}
    assert colorize.main(ColorizeConfig(**options, dry_run=True)) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["todo"] == 8 and planned["why"] == {"new": 8} and planned["core_seconds"] > 0
    assert not (tmp_path / "out").exists()

    assert colorize.main(ColorizeConfig(**options)) == 3
    said = capsys.readouterr()
    summary = json.loads(said.out)
    assert summary["status"] == {"ok": 6, "error": 1, "skipped": 1} and summary["kind"] == {"grey": 6}
    assert {group["status"] for group in summary["reasons"]} == {"error", "skipped"}
    assert "6 coloured, 1 failed, 1 skipped" in said.err
    table = pq.read_table(summary["photographs"])
    assert len(table) == 6 and table.schema.field("image").type.names == ["bytes", "path"]
    used = json.loads((tmp_path / f"out/settings/{summary['settings']}.json").read_text())
    assert (used["policy"], used["format"]) == ("recolor", "parquet")


class BlindActor(ColorizeActor):
    """On a machine that has a folder of its own by the name of OUTPUT."""

    def __init__(self, job):
        preflight.PATIENCE = 0.5  # in this process, which is the actor's
        super().__init__(replace(job, output=f"{job.output}-of-this-machine"))


def test_a_machine_that_does_not_see_output_ends_the_job(ray_local, tmp_path, monkeypatch, capfd):
    """Soon, with one sentence, and without a row that says that all is well."""
    (tmp_path / "scans").mkdir()
    for i in range(20):
        Image.fromarray(np.full((32, 40 + i), 90, np.uint8)).save(tmp_path / f"scans/{i:02d}.png")
    monkeypatch.setattr(pool, "ColorizeActor", BlindActor)
    with pytest.raises(SystemExit) as end:
        cli.run(lambda: run(tmp_path / "scans", tmp_path / "out"))
    said = capfd.readouterr().err
    assert end.value.code == cli.FAILED
    assert re.fullmatch(r"error: the machine \S+ does not see the \S+ that this job writes to \([^\n]+\n", said), said
    assert not list((tmp_path / "out").glob("catalog/*")) and not list(tmp_path.glob("out*/images/*"))


def test_weights_travel_with_the_job(ray_local, tmp_path, monkeypatch):
    """On a cluster their path may be one of the driver's machine alone."""
    (tmp_path / "scans").mkdir()
    Image.fromarray(np.full((32, 40), 90, np.uint8)).save(tmp_path / "scans/a.png")
    weights = tmp_path / "mine.safetensors"
    weights.write_bytes(WeightsFile.read().data)
    rows_of = pool.rows_of

    def without_the_file(*arguments):
        weights.unlink()
        return rows_of(*arguments)

    monkeypatch.setattr(pool, "rows_of", without_the_file)
    assert run(tmp_path / "scans", tmp_path / "out", weights=str(weights)) == 0
    (row,) = catalog(tmp_path / "out").values()
    assert row["model"] == WeightsFile.read().model.replace("lite2", "mine")


def test_nobody_elses_file_is_touched(ray_local, tmp_path, capsys):
    """Two boxes with the same names, files of others in OUTPUT, a clock that goes back, and a scan that goes bad."""
    scans, other, output = tmp_path / "scans", tmp_path / "box2", tmp_path / "out"
    for folder in (scans, other):
        folder.mkdir()
        for i in range(2):
            Image.fromarray(np.full((32, 40 + i), 90, np.uint8)).save(folder / f"{i}.png")
    assert run(scans, output, format="parquet", review=False) == 0
    foreign = [output / "parquet/notes.txt", output / "catalog/notes.txt", output / "catalog/mine.parquet"]
    for path in foreign:
        path.write_bytes(b"mine")

    with pytest.raises(UsageError, match=r"holds the results of .*scans, not of .*box2"):
        run(other, output)
    with pytest.raises(UsageError, match=r"holds the results of"):
        run(other / "0.png", output)
    before = catalog_of(output)

    with pytest.MonkeyPatch.context() as patch:
        hour = 3600 * 10**9
        now, now_ns = time.time, time.time_ns
        patch.setattr(time, "time", lambda: now() - 3600)
        patch.setattr(time, "time_ns", lambda: now_ns() - hour)
        (scans / "1.png").write_bytes((scans / "1.png").read_bytes()[:60])
        assert run(scans, output, format="png", review=False) == 3
    said = capsys.readouterr().out
    assert "2 will be coloured again: " in said and "1 changed since" in said and "1 done with other settings" in said
    rows = catalog_of(output)
    assert rows["0.png"]["output"] == str(output / "images/0.png.png") and rows["1.png"]["status"] == "error"
    assert rows["1.png"]["output"] == before["1.png"]["output"], "the row names the picture that is still there"
    assert Path(rows["1.png"]["output"]).is_file()

    Image.fromarray(np.full((32, 50), 90, np.uint8)).save(scans / "1.png")
    assert run(scans, output, format="jpeg", review=False) == 0
    assert sorted(outputs(output)) == ["0.png.jpg", "1.png.jpg"], "pictures of the former format are gone"
    assert [path.read_bytes() for path in foreign] == [b"mine"] * 3


def catalog_of(output) -> dict[str, dict]:
    rows = Catalog(str(output)).read().to_pylist()
    return {Path(row["source"]).name: row for row in rows}


def test_names_that_lead_out_of_an_archive(ray_local, tmp_path):
    picture = io.BytesIO()
    Image.fromarray(np.full((32, 40), 90, np.uint8)).save(picture, "PNG")
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
        for name in ("a.png", "../../x.png", "folder/b.png"):
            archive.writestr(name, picture.getvalue())
    output = tmp_path / "deep/out"
    assert run(f"zip://::file://{tmp_path}/scans.zip", output, review=False) == 3
    rows = {row["source"].partition("::")[0]: row for row in Catalog(str(output)).read().to_pylist()}
    assert {name: row["status"] for name, row in rows.items()} == {
        "zip://a.png": "ok", "zip://folder/b.png": "ok", "zip://../../x.png": "error",
    }  # fmt: skip
    assert "leads out of the archive" in rows["zip://../../x.png"]["error"]
    assert sorted(outputs(output)) == ["a.png.png", "folder/b.png.png"]
    assert not [path for path in tmp_path.rglob("*.png") if output not in path.parents], "nothing outside of OUTPUT"


@pytest.fixture
def theirs(beside, tmp_path):
    """Writes a colourizer of others with its manifest."""

    def write(content: bytes, manifest: str = "") -> str:
        (tmp_path / "theirs.onnx").write_bytes(content)
        (tmp_path / "theirs.yaml").write_text(manifest)
        return str(tmp_path / "theirs.onnx")

    return write


@pytest.mark.parametrize(
    "content, manifest",
    [
        (foreign.gives_ab(3, 256, half=True), "family: ddcolor\nname: Theirs & Co.\nlicence: Apache-2.0"),
        (foreign.gives_rgb(256), "family: deoldify"),
        (foreign.gives_ab(1, 256, spare=True), ""),
        (foreign.gives_ab(1, 224, step=4), "family: caffe"),
    ],
    ids=["DDColor", "DeOldify", "SIGGRAPH17", "Caffe"],
)
def test_a_colourizer_of_others_gets_every_guarantee(theirs, content, manifest, samples, tmp_path, capsys):
    """Its chroma alone is taken; lightness at 16 bits, JPEG's luma, provenance and resuming are as ever."""
    weights, out = theirs(content, manifest), tmp_path / "out"
    scans = [
        f"{samples}/scans/{name}" for name in ("coffee-16-bit.tif", "places/rocket.jpg", "portraits/cameraman.png")
    ]
    (tmp_path / "list.txt").write_text("\n".join(scans))
    assert run(tmp_path / "list.txt", out, weights=weights, format="keep") == 0
    rows = {Path(row["source"]).name: row for row in pq.read_table(f"{out}/catalog").to_pylist()}
    digest = hashlib.sha256(content).hexdigest()[:12]
    for name, row in rows.items():
        assert (row["status"], row["model"], row["confidence"]) == ("ok", f"theirs@{digest}", None)
        assert row["engine"].startswith("OpenVINO") and row["engine"].endswith(" float32")
        data = Path(row["output"]).read_bytes()
        assert f"theirs@{digest}".encode() in data, "the provenance names it"
        made, scan = photo.read(data), photo.read(Path(row["source"]).read_bytes())
        lab = rgb_to_lab(made.rgb_8bit)[..., 1:].mean((0, 1))
        assert (lab > (0, 5)).all(), "the colours are there"
        if not name.endswith(".jpg"):
            assert made.bits == scan.bits and fraction_kept(scan.grey, made.pixels) == 1.0
    if "licence" in manifest:
        assert b"Theirs &amp; Co., Apache-2.0" in Path(rows["rocket.jpg"]["output"]).read_bytes()
    settings = json.loads((out / "settings" / f"{rows['rocket.jpg']['settings']}.json").read_text())
    assert settings["manifest"] == WeightsFile.read(weights).manifest
    capsys.readouterr()
    assert run(tmp_path / "list.txt", out, weights=weights, format="keep") == 0
    assert "3 already done" in capsys.readouterr().out
    theirs(content, manifest + "\nunit: 1.0" if manifest else "unit: 1.0")
    assert run(tmp_path / "list.txt", out, weights=weights, format="keep", dry_run=True) == 0
    assert "3 done with other settings" in capsys.readouterr().out, "a manifest is a setting"


@pytest.mark.parametrize(
    "content, options, says",
    [
        (foreign.gives_rgb(256, 1.0), {}, "not as light and dark"),
        (b"no such thing", {}, "cannot be run as ONNX"),
        (foreign.gives_ab(3, 256), {"vividness": 0.5}, "no choice of vividness"),
        (foreign.gives_ab(3, 256), {"variants": 2}, "no choice of vividness or variants"),
    ],
)
def test_a_colourizer_of_others_that_does_not_do_is_refused_before_anything_is_done(
    theirs, content, options, says, samples, tmp_path
):
    with pytest.raises((UsageError, WeightsError), match=says):
        run(samples / "scans", tmp_path / "out", weights=theirs(content), **options)
    assert not (tmp_path / "out").exists()


def test_the_precision_is_a_setting_only_where_it_is_asked_for(beside, samples, tmp_path, capsys):
    scan, out = samples / "scans/portraits/cameraman.png", tmp_path / "out"
    assert run(scan, out) == 0
    (fast,) = pq.read_table(f"{out}/catalog").to_pylist()
    assert "precision" not in json.loads((out / "settings" / f"{fast['settings']}.json").read_text())
    assert run(scan, out, precision="float32") == 0
    assert "1 done with other settings" in capsys.readouterr().out
    (exact,) = pq.read_table(f"{out}/catalog").to_pylist()
    assert exact["engine"].endswith("float32") and exact["settings"] != fast["settings"]


def test_a_colourizer_of_others_on_a_gpu_takes_what_is_not_installed(theirs, samples, tmp_path, monkeypatch):
    monkeypatch.setattr("colorize_core.foreign_engine.gpu_runs_onnx", lambda: False)
    with pytest.raises(UsageError, match=r"theirs.onnx: on a GPU it takes .* or leave GPUs alone with --gpus 0"):
        run(samples / "scans", tmp_path / "out", weights=theirs(foreign.gives_ab(3, 256)), gpus=1.0)
