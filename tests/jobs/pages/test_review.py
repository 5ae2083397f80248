"""The review page, in a real browser: pictures to compare, filter and decide about, and what becomes of decisions."""

import csv
import hashlib
import io
import json
import shutil
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import ExifTags, Image

from colorize_core import encoding
from jobs import cli, colorize, review
from jobs.coloring.config import ColorizeConfig
from jobs.pages.evaluation import evaluation_page, picture
from jobs.pages.review import page as review_page
from jobs.pages.review import pictures
from jobs.storage import files
from jobs.storage.catalog import SCHEMA, Catalog
from jobs.storage.parquet import ParquetWriter
from jobs.training import logbook
from tests.browser import DESKTOP, PHONE, serious
from tests.many_photographs import write_page

EVIL = "<script>window.harmed = 1</script>"
NAMES = {  # and the grey of each, of which the confidence depends
    r"a/plain \u005cudce9.png": 40,  # a backslash, as the catalogue writes it
    "a/\"quotes' & <img src=x onerror='window.harmed=1'>.png": 80,
    "b/東京 Straße.png": 120,
    "b/=spreadsheet, $& $$.png": 160,
    r"b/no. #/caf\udce9.png": 20,  # not UTF-8, as the catalogue writes it
}


def run(source, output, **options) -> int:
    return colorize.main(ColorizeConfig(source=str(source), output=str(output), **options))


def catalog(output) -> dict[str, dict]:
    """Rows by path relative to the source."""
    rows = pq.read_table(f"{output}/catalog").to_pylist()
    return {row["source"].partition("/scans/")[2]: row for row in rows}


@pytest.fixture(scope="module")
def job(all_beside, tmp_path_factory) -> Path:
    """A folder with ``scans`` and ``out``, where a job has been done that wrote its page."""
    folder = tmp_path_factory.mktemp("review")
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = EVIL
    ramp = np.linspace(0, 80, 96 * 128).reshape(96, 128)
    for name, grey in NAMES.items():
        path = folder / "scans" / files.unprintable(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((ramp + grey).astype(np.uint8)).save(path, exif=exif)
    for i in range(3):
        (folder / f"scans/b/torn-{i}.jpg").write_bytes(b"\xff\xd8\xff" + bytes([i]))
    (folder / "scans/notes.txt").write_text("Scanned in 1998.")
    assert run(folder / "scans", folder / "out") == cli.SOME_ERRORS
    return folder


@pytest.fixture
def page(job) -> Path:
    return job / "out/review/index.html"


def test_the_page_shows_every_photograph_and_loads_nothing_from_elsewhere(job, page, look):
    shown = look(page)
    rows = catalog(job / "out")
    doubtful_first = sorted(NAMES, key=lambda name: rows[name]["confidence"])
    assert shown.names() == [Path(name).name for name in doubtful_first], "as text, whatever the names hold"
    shown.page.locator(".card .open").first.click()
    viewer = shown.page.locator("#viewer")
    viewer.get_by_text("Caption").wait_for()
    facts = dict(zip(viewer.locator("dt").all_inner_texts(), viewer.locator("dd").all_inner_texts(), strict=True))
    row = rows[doubtful_first[0]]
    assert facts["Caption"] == EVIL and facts["Size"].split()[::2] == ["128", "96"] and facts["Model"] == row["model"]
    assert facts["Confidence"] == f"{row['confidence']:.2f}" and facts["Kind"] == row["kind"]
    assert facts["Original"] == row["source"] and facts["Colour"] == f"images/{doubtful_first[0]}.png"
    for _ in NAMES:
        original, colour = (link.evaluate("link => link.href") for link in viewer.locator("dd a").all())
        assert original.startswith(f"file://{job}/scans/") and colour.startswith(f"file://{job}/out/images/")
        for link in (original, colour):
            file = Path(unquote(link.removeprefix("file://"), errors="surrogateescape"))
            assert file.is_file() and viewer.locator("#viewer-name").inner_text() in files.printable(file.name)
        shown.page.keyboard.press("ArrowRight")
    assert shown.page.evaluate("() => window.harmed") is None and shown.problems == []
    assert all(url.startswith((f"file://{job}/out/", "data:image/jpeg;base64,")) for url in shown.requests)


def test_native_size_is_the_stored_photograph(page, look):
    shown = look(page)
    shown.page.locator(".card .open").first.click()
    shown.page.keyboard.press("n")
    after = shown.page.locator(".stage.native .after[src^=file]")
    after.wait_for()
    box = after.bounding_box()
    assert (box["width"], box["height"]) == (128, 96)


def test_the_part_in_grey_is_the_scan(job, page, look):
    shown = look(page)
    shown.choose("order", "vivid")
    shown.page.locator(".card .open").first.click()
    shown.page.keyboard.press("n")
    shown.page.locator(".stage.native .after[src^=file]").wait_for()
    shown.page.locator(".stage .slider").focus()
    seen = {}
    for key in ("End", "Home"):  # all in grey, all in colour
        shown.page.keyboard.press(key)
        png = shown.page.locator(".stage .comparison").screenshot()
        seen[key] = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)[:, 2:-2]
    name = shown.page.locator("#viewer-name").inner_text()
    (scan,) = (path for path in (job / "scans").rglob("*") if files.printable(path.name) == name)
    grey = np.asarray(Image.open(scan)).astype(int)[:, 2:-2, None]
    assert np.abs(seen["End"] - grey).max() <= 1 < np.abs(seen["Home"] - grey).max()


def cut(box) -> float:
    return float(box.evaluate("box => box.style.getPropertyValue('--cut')").removesuffix("%") or 0)


def test_the_slider_follows_mouse_touch_and_keyboard(page, look):
    shown = look(page)
    shown.names()
    card = shown.page.locator(".card").first
    picture, mouse = card.locator(".comparison"), shown.page.mouse
    picture.wait_for()
    box = picture.bounding_box()
    y = box["y"] + box["height"] / 2
    mouse.move(box["x"] + 5, y)
    mouse.down()
    mouse.move(box["x"] + 0.5 * box["width"], y, steps=4)
    mouse.up()
    assert cut(picture) == pytest.approx(50, abs=2)
    assert not shown.page.locator("#viewer").is_visible(), "a drag is no click"
    card.locator(".slider").focus()
    shown.page.keyboard.press("End")
    assert cut(picture) == 100
    shown.page.keyboard.press("ArrowLeft")
    assert cut(picture) == 99

    shown = look(page, viewport=PHONE, has_touch=True, is_mobile=True)
    shown.page.locator(".card .open").first.tap()
    picture = shown.page.locator(".stage .comparison")
    picture.wait_for()
    box = picture.bounding_box()
    y = box["y"] + box["height"] / 2
    touch = partial(shown.context.new_cdp_session(shown.page).send, "Input.dispatchTouchEvent")
    touch({"type": "touchStart", "touchPoints": [{"x": box["x"] + 0.5 * box["width"], "y": y}]})
    for part in (0.6, 0.7, 0.8):
        touch({"type": "touchMove", "touchPoints": [{"x": box["x"] + part * box["width"], "y": y}]})
    touch({"type": "touchEnd", "touchPoints": []})
    assert cut(picture) == pytest.approx(80, abs=2)


def test_ordering_searching_and_filtering(job, page, look):
    shown = look(page)
    rows = catalog(job / "out")
    for order, column, sign in (("certain", "confidence", -1), ("muted", "colorfulness", 1)):
        shown.choose("order", order)
        assert shown.names() == [Path(name).name for name in sorted(NAMES, key=lambda n: sign * rows[n][column])]
    shown.choose("folder", "b")
    assert set(shown.names()) == {Path(name).name for name in NAMES if name.startswith("b/")}
    shown.page.locator("[name=search]").fill("strASSE".replace("SS", "ß"))
    shown.page.get_by_text("1 photograph", exact=True).wait_for()
    assert shown.names() == ["東京 Straße.png"]
    shown.page.locator("[name=search]").fill("")
    shown.choose("folder", "")
    shown.choose("show", "error")
    reasons = shown.page.locator("#reasons details")
    assert reasons.count() == 1, "three files, one reason"
    assert reasons.locator("summary").inner_text().startswith("3 ")
    reasons.locator("summary").click()
    reasons.locator("li").last.wait_for()
    assert reasons.locator("li").all_inner_texts() == [f"b/torn-{i}.jpg" for i in range(3)]
    shown.choose("show", "skipped")
    assert "not an image" in shown.page.locator("#reasons summary").inner_text()


def test_decisions_by_keyboard_are_found_again_and_exported(job, page, look):
    shown = look(page)
    names = shown.names()
    shown.page.locator(".card .open").first.focus()
    for key in ("k", "r", "d"):
        shown.page.keyboard.press(key)
    shown.page.keyboard.press("ArrowLeft")
    shown.page.keyboard.press("k")
    shown.page.keyboard.press("ArrowLeft")
    shown.page.keyboard.press("k")  # once more takes it back
    assert shown.page.locator(".card .mark").all_inner_texts() == ["Kept", "Rejected", "", "", ""]
    shown.page.keyboard.press("d")
    shown.page.reload()
    shown.names()
    assert shown.page.locator(".card .mark").all_inner_texts() == ["Kept", "Rejected", "To redo", "", ""]
    assert shown.page.locator("#tally").inner_text() == "1 kept, 1 rejected, 1 to redo"
    shown.choose("show", "undecided")
    assert shown.names() == names[3:]

    rows = {Path(row["source"]).name: row for row in catalog(job / "out").values()}
    want = {(rows[name]["id"], rows[name]["source"], decision, f"sha256:{rows[name]['output_sha256'][:8]}")
            for name, decision in zip(names, ("keep", "reject", "redo"), strict=False)}  # fmt: skip
    exported = csv.DictReader(io.StringIO(shown.exported("csv").decode(), newline=""))
    assert {tuple(row.values()) for row in exported} == want
    assert {tuple(row.values()) for row in json.loads(shown.exported("json"))} == want


def test_the_redo_list_is_done_again_and_decisions_are_kept(job, look, tmp_path, capsys):
    output = tmp_path / "out"
    shutil.copytree(job / "out", output)
    before = catalog(output)
    for row in before.values():  # the copy is an OUTPUT of its own
        row["output"] = row["output"] and row["output"].replace(str(job / "out"), str(output))
    shutil.rmtree(output / "catalog")
    Catalog(str(output)).append(pa.Table.from_pylist(list(before.values()), SCHEMA))
    kept, rejected, redone, *_ = NAMES
    shown = look(output / "review/index.html")
    shown.names()
    for name, key in ((kept, "k"), (rejected, "r"), (redone, "d")):
        shown.page.locator(".card", has=shown.page.get_by_text(Path(name).name, exact=True)).locator(".open").focus()
        shown.page.keyboard.press(key)
    (tmp_path / "decisions.csv").write_bytes(shown.exported("csv"))

    options = {"only": str(tmp_path / "decisions.csv"), "vividness": 0.0}
    assert run(job / "scans", output, **options, dry_run=True) == cli.OK
    assert "1 to colour (1 to be done again)" in capsys.readouterr().out
    assert run(job / "scans", output, **options) == cli.SOME_ERRORS, "those of before"
    after = catalog(output)
    changed = {name for name in after if after[name] != before[name] | {"decision": after[name]["decision"]}}
    assert changed == {redone} and after[redone]["output_sha256"] != before[redone]["output_sha256"]
    decided = {name: row["decision"] for name, row in after.items() if row["decision"]}
    assert decided == {kept: "keep", rejected: "reject"}, "what was done again is undecided"
    assert Path(after[rejected]["output"]).exists()

    shown.page.reload()
    shown.names()
    assert sorted(shown.page.locator(".card .mark").all_inner_texts()) == ["", "", "", "Kept", "Rejected"]
    stranger = look(output / "review/index.html")  # a browser that has decided nothing
    stranger.names()
    assert sorted(stranger.page.locator(".card .mark").all_inner_texts()) == ["", "", "", "Kept", "Rejected"]


def test_a_page_that_cannot_be_written_is_a_sentence(job, tmp_path, capsys):
    shutil.copytree(job / "out/catalog", tmp_path / "out/catalog")
    (tmp_path / "out/review").write_text("in the way")
    assert run(job / "scans", tmp_path / "out") == cli.SOME_ERRORS
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "the review page could not be written" in said
    assert run(job / "scans", tmp_path / "out", review=False) == cli.SOME_ERRORS
    assert capsys.readouterr().err == "" and (tmp_path / "out/review").read_text() == "in the way"


def write_outputs(output: str) -> dict[str, np.ndarray]:
    """Photographs of every format and their catalogue, without a job; their colours by name."""
    rng = np.random.default_rng(0)
    colours, rows = {}, []
    packed = ParquetWriter(output)
    for name in ("a.png", "b.jpg", "c.tif", "d.png", "packed.png"):
        colour = rng.integers(0, 256, 3, dtype=np.uint8)
        rgb = np.tile(colour, (300, 400, 1))
        if name == "c.tif":
            data = encoding.encode(rgb.astype(np.uint16) * 257, "tiff")
        else:
            data = encoding.encode(rgb, "jpeg" if name == "b.jpg" else "png")
        row = {
            "id": hashlib.sha256(name.encode()).hexdigest()[:32], "source": f"s3://archive/scans/{name}",
            "output": f"{output}/images/{name}", "status": "ok", "width": 400, "height": 300, "confidence": 0.5,
            "output_sha256": hashlib.sha256(data).hexdigest(),
        }  # fmt: skip
        if name == "packed.png":
            packed.add(row, name, data)
        elif name != "d.png":  # which is lost
            with fsspec.open(row["output"], "wb", auto_mkdir=True) as file:
                file.write(data)
        colours[name] = colour
        rows.append(row)
    packed.flush()
    Catalog(output).append(pa.Table.from_pylist(rows, SCHEMA))
    return colours


def test_every_format_is_shown_and_the_page_opens_from_a_bucket(ray_local, s3_endpoint, look, capsys, monkeypatch):
    fsspec.filesystem("s3").mkdir("museum")
    colours = write_outputs("s3://museum/out")
    monkeypatch.setattr(pictures, "FEW_PIXELS", 0)  # so that Ray's workers do them
    monkeypatch.setattr(pictures, "TOGETHER", 2)
    assert review.main(review.ReviewConfig(output="s3://museum/out")) == cli.OK
    assert "1 photographs have no thumbnail" in capsys.readouterr().err
    signed = {"Authorization": "AWS test:test"}  # a bucket that is not open to everyone
    shown = look(f"{s3_endpoint}/museum/out/review/index.html", extra_http_headers=signed)
    shown.choose("order", "name")
    assert shown.names() == list(colours)
    shown.page.locator(".after[src]").nth(3).wait_for()
    for i, (name, colour) in enumerate(colours.items()):
        src = shown.page.locator(".after").nth(i).get_attribute("src")
        assert bool(src) == (name != "d.png")
        if src:
            with fsspec.open(src) as file, Image.open(file) as image:
                assert image.size == (320, 240)
                assert np.abs(np.asarray(image).mean((0, 1)) - colour).max() < 3
    shown.page.locator(".card .open").first.click()
    native = shown.page.locator("[data-do=native]")
    enabled = {}
    for name in colours:
        enabled[name] = native.is_enabled()
        shown.page.keyboard.press("ArrowRight")
    assert enabled == {"a.png": True, "b.jpg": True, "c.tif": False, "d.png": True, "packed.png": False}
    shown.page.keyboard.press("Escape")
    lost = [problem for problem in shown.problems if "404" not in problem]
    assert lost == []


def test_only_what_is_new_is_made_again(tmp_path):
    output = str(tmp_path)
    write_outputs(output)
    review_page.write(output)
    scripts = tmp_path / "review/thumbnails"
    first = {path.name: path.stat().st_mtime_ns for path in scripts.iterdir()}
    made = pq.read_table(tmp_path / "review/thumbnails.parquet")
    assert len(made) == 4
    rows = Catalog(output).read().to_pylist()
    changed = rows[0] | {"output_sha256": "0" * 64}
    shutil.copy(rows[0]["output"], tmp_path / "images/d.png")
    Catalog(output).append(pa.Table.from_pylist([changed], SCHEMA))
    review_page.write(output)
    after = {path.name: path.stat().st_mtime_ns for path in scripts.iterdir()}
    assert len(after) > len(first) and all(after[name] == at for name, at in first.items())
    assert len(pq.read_table(tmp_path / "review/thumbnails.parquet")) == 5


ROWS = 20_000


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    return write_page(tmp_path_factory.mktemp("many"), ROWS)


def test_20_000_photographs(many, look):
    """``benchmarks.review_page`` prints how long the first view takes; here is what it depends on."""
    shown = look(many)
    shown.page.locator(".after[src]").nth(11).wait_for()
    assert len(shown.requests) <= 12, "the first view is some thumbnails, beside the page and its rows"
    assert (many.parent / "rows.js").stat().st_size < 150 * ROWS
    assert shown.page.locator("#said").inner_text() == "20,000 photographs"
    size = partial(shown.page.evaluate, "() => document.querySelectorAll('*').length")
    elements = size()
    assert elements < 1500
    before = shown.names()[0]
    for _ in range(30):
        shown.page.mouse.wheel(0, 20_000)
    shown.page.wait_for_timeout(300)
    assert before not in shown.names() and shown.page.evaluate("() => scrollY") > 500_000
    shown.page.locator(".card:last-child .after[src]").wait_for()
    assert size() < 2 * elements and shown.page.evaluate("() => scripts.size") <= 32
    assert shown.thumbnails() < ROWS / pictures.TOGETHER / 5, "not all was loaded on the way"
    shown.page.locator(".card .open[tabindex='0']").focus()
    shown.page.keyboard.press("End")
    assert shown.page.locator(".card:focus-within").get_attribute("aria-posinset") == str(ROWS)
    shown.page.locator("[name=search]").fill("photo-0123")
    shown.page.get_by_text("10 photographs", exact=True).wait_for()
    assert shown.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_bars_people_and_everything_fits(page, look, viewport, scheme, tmp_path):
    shown = look(page, viewport=viewport, color_scheme=scheme)
    shown.page.locator(".after[src]").nth(len(NAMES) - 1).wait_for()
    shown.page.locator(".card .open").first.focus()
    shown.page.keyboard.press("k")
    shots = {"grid": lambda: None, "viewer": lambda: shown.page.keyboard.press("Enter")}
    shots["failed"] = lambda: (shown.page.keyboard.press("Escape"), shown.choose("show", "error"))
    for name, step in shots.items():
        step()
        shown.page.screenshot(path=tmp_path / f"{name}.png")
        assert serious(shown) == [], name
        assert shown.page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0, name
    ground = Image.open(tmp_path / "grid.png").convert("RGB").getpixel((3, viewport["height"] // 2))
    assert len(set(ground)) == 1 and (ground[0] < 80) == (scheme == "dark"), "neutral grey"


def test_pages_of_evaluations_and_training_runs(tmp_path, look):
    grey, colour = np.full((64, 64, 3), 90, np.uint8), np.full((64, 64, 3), (120, 80, 60), np.uint8)
    measured = [
        {"path": path, "setting": setting, "ciede2000": error, "psnr": 20.0, "confidence": float("nan"),
         "picture": picture(colour if setting == "truth" else grey)}
        for path, error in (("good.jpg", 3.0), (f"{EVIL}.jpg", 14.0))
        for setting in ("grey", "default", "resnet18", "truth")
    ]  # fmt: skip
    html = evaluation_page(
        "photos", "2 photographs", [["", "PSNR dB"], ["grey", "21.0"]], measured,
        ["grey", "default", "resnet18", "truth"],
    )  # fmt: skip
    (tmp_path / "evaluation.html").write_bytes(html)
    shown = look(tmp_path / "evaluation.html")
    photographs = shown.page.locator(".photograph")
    assert photographs.locator("h2").all_inner_texts() == [f"{EVIL}.jpg", "good.jpg"], "the worst first"
    captions = photographs.first.locator("figcaption").all_inner_texts()
    assert [caption.splitlines()[0] for caption in captions] == ["grey", "default", "resnet18", "truth"]
    assert "CIEDE2000 14.0" in captions[1] and "PSNR" not in captions[3] and "confidence" not in captions[1]
    assert serious(shown) == [] and shown.problems == [] and shown.page.evaluate("() => window.harmed") is None

    history = [{"epoch": 0.5, "step": 5, "train_loss": 3.0}]
    history += [{"epoch": n, "step": 10 * n, "train_loss": 3 / n, "loss": 3.5 / n, "mse": 0.003} for n in (1.0, 2.0)]
    (tmp_path / "run/sheets").mkdir(parents=True)
    for epoch in (1, 2):
        Image.new("RGB", (300, 200), "gray").save(tmp_path / "run" / logbook.sheet(epoch))
    logbook.write_page(str(tmp_path / "run"), history)
    shown = look(tmp_path / "run/index.html")
    pictures = shown.page.locator("img")
    assert [img.get_attribute("src") for img in pictures.all()] == [
        "learning-curve.png", "sheets/epoch-0002.jpg", "sheets/epoch-0001.jpg",
    ]  # fmt: skip
    for img in pictures.all():
        img.scroll_into_view_if_needed()
        assert img.evaluate("img => img.decode().then(() => img.naturalWidth)") >= 300
    assert shown.page.locator("tbody tr, table tr").nth(1).inner_text().split() == ["2", "1.5000", "1.7500", "30.00"]
    assert serious(shown) == [] and shown.problems == []
