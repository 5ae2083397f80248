"""Colours that a person knows, given on the review page in a real browser, and what the job makes of them."""

import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data
from skimage.color import deltaE_ciede2000, rgb2lab

from colorize_core import color, photo
from colorize_core.colorizer import Colorizer
from colorize_core.hints import Hint, chroma_of
from jobs import cli, colorize
from jobs.coloring.config import ColorizeConfig
from tests.browser import DESKTOP, PHONE, Looking, serious

PORTRAIT = color.grey_of(data.astronaut())
COAT = np.array(
    [
        (110, 200),
        (240, 300),
        (310, 235),
        (350, 270),
        (365, 360),
        (280, 400),
        (275, 511),
        (20, 511),
        (20, 440),
        (45, 260),
    ]
)
"""Of the portrait, a polygon around what she wears, x and y."""
FLAG = 60, 200


def run(folder: Path, output: Path, **options) -> int:
    return colorize.main(ColorizeConfig(source=str(folder / "scans"), output=str(output), **options))


def rows_of(output: Path) -> dict[str, dict]:
    return {Path(row["source"]).stem: row for row in pq.read_table(output / "catalog").to_pylist()}


@pytest.fixture(scope="module")
def job(all_beside, tmp_path_factory) -> Path:
    """A folder with ``scans`` and ``out``, where a job has been done."""
    folder = tmp_path_factory.mktemp("hints")
    (folder / "scans").mkdir()
    Image.fromarray(PORTRAIT).save(folder / "scans/portrait.png")
    Image.fromarray(data.camera()[:, :400]).save(folder / "scans/camera.png")
    Image.fromarray(cv2.resize(PORTRAIT, (256, 256))).save(folder / "scans/smaller.png")
    Image.fromarray(data.moon()).save(folder / "scans/moon.png")
    assert run(folder, folder / "out") == cli.OK
    return folder


class Hinting:
    """A photograph in the viewer, where hints are given."""

    def __init__(self, shown: Looking, name: str = "portrait"):
        self.shown, self.page = shown, shown.page
        self.open(name)
        self.page.locator("[data-do=hints]").click()
        self.page.wait_for_function("() => see(shownRow()) instanceof ImageData")
        self.box = self.page.locator(".stage .comparison").bounding_box()

    def open(self, name: str) -> None:
        self.page.locator(".card", has=self.page.get_by_text(f"{name}.png", exact=True)).locator(".open").click()
        picture = self.page.locator(".stage .comparison")
        picture.wait_for()
        self.box = picture.bounding_box()

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A place of the portrait, on the screen."""
        return self.box["x"] + x / 512 * self.box["width"], self.box["y"] + y / 512 * self.box["height"]

    def point(self, x: float, y: float) -> None:
        before = self.rings.count()
        self.page.mouse.click(*self.at(x, y))
        self.rings.nth(before).wait_for()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def dial(self, hue: int, colour: int) -> None:
        self.page.locator("#hue").fill(str(hue))
        self.page.locator("#chroma").fill(str(colour))

    @property
    def rings(self):
        return self.page.locator(".ring")

    def told(self) -> str:
        return self.page.locator("#told").inner_text()

    def exported(self) -> list[dict]:
        """Entries of the exported JSON."""
        if self.page.locator("#viewer").is_visible():
            self.page.locator("[data-do=close]").click()
        return json.loads(self.shown.exported("json"))

    def hints(self) -> list[dict]:
        """Those of the photograph."""
        return self.page.evaluate("() => hintsOf(shownRow())")


@pytest.fixture
def hinting(job, look):
    return lambda name="portrait", **options: Hinting(look(job / "out/review/index.html", **options), name)


def places(hints: list[dict]) -> list[tuple[float, float]]:
    return [(hint["x"], hint["y"]) for hint in hints]


def test_the_networks_likeliest_are_offered_first_without_a_server(job, look):
    hinting = Hinting(look(job / "out/review/index.html"))
    x, y = 180, 400
    hinting.point(x, y)
    swatches = hinting.page.locator("#likeliest button")
    swatches.nth(1).wait_for()
    (colouring,) = Colorizer.load(device="cpu").predict([PORTRAIT], likeliest_map=True)
    places = colouring.likeliest_map
    there = places[y * places.shape[0] // 512, x * places.shape[1] // 512].tolist()
    assert hinting.page.evaluate("() => likeliest(shownRow(), hintsOf(shownRow())[0])") == there
    second = swatches.nth(1).get_attribute("title")
    swatches.nth(1).click()
    assert [hint["color"] for hint in hinting.hints()] == [second]


def test_by_mouse_and_the_job_makes_the_coat_green(job, hinting, tmp_path):
    page = hinting()
    assert "whose colour you know" in page.told()
    page.point(100, 400)
    assert page.told().startswith("Hint 1 of 1: ")
    page.dial(hue=150, colour=80)
    assert page.told() == "Hint 1 of 1: green"
    page.point(*FLAG)
    page.page.locator("[data-do=none]").click()
    page.point(300, 100)
    page.page.mouse.move(*page.at(300, 100))
    page.page.mouse.down()
    page.page.mouse.move(*page.at(310, 130), steps=3)
    page.page.mouse.move(*page.at(330, 150), steps=3)
    page.page.mouse.up()
    assert places(page.hints())[2] == pytest.approx((330, 150), abs=1.5)
    page.page.locator("[data-do=undo]").click()
    assert places(page.hints())[2] == pytest.approx((300, 100), abs=1.5), "all of a drag at once"
    page.page.mouse.click(*page.at(300, 100), button="right")
    assert page.rings.count() == 2
    page.press("Control+z")
    assert page.rings.count() == 3
    page.press("Control+Shift+z")
    assert page.rings.count() == 2
    assert cut(page.page.locator(".stage .comparison")) == 0
    page.page.mouse.move(*page.at(400, 60))
    page.page.mouse.down()
    page.page.mouse.move(*page.at(256, 60), steps=4)
    page.page.mouse.up()
    assert cut(page.page.locator(".stage .comparison")) == pytest.approx(50, abs=2), "grey and colour still compare"
    assert page.rings.count() == 2

    (entry,) = page.exported()
    assert entry["decision"] == "redo"
    np.testing.assert_allclose(places(entry["hints"]), [(100, 400), FLAG], atol=1)
    assert [hint["color"] for hint in entry["hints"]][1] == "none"
    card = page.page.locator(".card", has=page.page.get_by_text("portrait.png", exact=True))
    assert card.locator(".mark").inner_text() == "To redo, 2 hints"
    assert page.shown.exported("csv").decode().startswith("id,source,decision,colors\r\n")
    assert page.page.locator("#said").inner_text() == "CSV holds no hints: export JSON for those of 1 photographs"
    assert page.shown.problems == []

    before = photo.read((job / "out/images/portrait.png.png").read_bytes()).rgb
    (tmp_path / "decisions.json").write_text(json.dumps([entry]))
    (tmp_path / "hints.csv").write_text(
        "path,x,y,color,radius\n"
        + "".join(f"portrait.png,{h['x']},{h['y']},{h['color']},{h['radius']}\n" for h in entry["hints"])
    )
    assert run(job, tmp_path / "by-page") == cli.OK
    assert run(job, tmp_path / "by-page", only=str(tmp_path / "decisions.json")) == cli.OK
    assert run(job, tmp_path / "by-table", hints=str(tmp_path / "hints.csv"), review=False) == cli.OK
    by_page, by_table = (rows_of(tmp_path / name)["portrait"] for name in ("by-page", "by-table"))
    assert by_page["output_sha256"] == by_table["output_sha256"] and by_page["hints"] == entry["hints"]
    after = photo.read((tmp_path / "by-page/images/portrait.png.png").read_bytes()).rgb
    known = [Hint(h["x"], h["y"], chroma_of(h["color"]), h["radius"]) for h in entry["hints"]]
    by_python = Colorizer.load(device="cpu").colorize(photo.Photo(PORTRAIT), hints=known)
    np.testing.assert_array_equal(after, by_python)

    np.testing.assert_array_equal(color.grey_of(after), PORTRAIT)
    coat = cv2.fillPoly(np.zeros(PORTRAIT.shape, np.uint8), [COAT], 1) > 0
    assert np.median(rgb2lab(after)[coat][:, 1]) < -15 < 10 < np.median(rgb2lab(before)[coat][:, 1])
    elsewhere = ~coat
    elsewhere[:, : FLAG[0] + 40] = False  # the flag, of which a hint says that it has no colour
    assert deltaE_ciede2000(rgb2lab(before), rgb2lab(after))[elsewhere].mean() < 2


def cut(box) -> float:
    return float(box.evaluate("box => box.style.getPropertyValue('--cut')").removesuffix("%") or 0)


def test_by_keyboard(hinting):
    page = hinting()
    page.press("Escape", "h")  # the mode is left, and entered again
    page.press(*["ArrowLeft"] * 3, *["ArrowDown"] * 2, "Enter")
    page.rings.first.wait_for()
    assert places(page.hints()) == [(256 - 15, 256 + 10)]
    page.page.wait_for_function("() => document.activeElement.closest('#likeliest')")
    page.page.locator("#hue").focus()
    page.press("End", "Tab", "ArrowRight")
    page.press("Escape", "Shift+ArrowRight", "ArrowRight", "Enter")
    page.rings.nth(1).wait_for()
    page.page.locator("#hue").focus()
    page.press("Home", "ArrowRight", "Escape", "Tab")
    assert page.page.evaluate("() => document.activeElement.getAttribute('aria-label')").startswith("Hint 1: ")
    page.press("ArrowUp", "ArrowUp", "Shift+ArrowRight")
    assert places(page.hints())[0] == (242, 256)
    page.press("Control+z")
    assert places(page.hints())[0] == (241, 266)
    page.press("Control+y", "Tab", "Delete")
    assert places(page.hints()) == [(242, 256)]
    page.press("h", "ArrowRight")
    assert page.rings.count() == 1 and page.page.locator(".hints[inert]").count() == 1
    assert page.exported()[0]["hints"] == page.page.evaluate("() => Object.values(guided)[0]")


def test_by_touch(hinting):
    page = hinting(viewport=PHONE, has_touch=True, is_mobile=True)
    page.page.touchscreen.tap(*page.at(100, 400))
    page.rings.first.wait_for()
    page.page.locator("#plane").tap()
    page.page.touchscreen.tap(*page.at(*FLAG))
    page.rings.nth(1).wait_for()
    page.page.locator("[data-do=none]").tap()
    touch = partial(page.shown.context.new_cdp_session(page.page).send, "Input.dispatchTouchEvent")
    for kind, place in (("touchStart", (100, 400)), ("touchMove", (130, 380)), ("touchMove", (200, 350))):
        x, y = page.at(*place)
        touch({"type": kind, "touchPoints": [{"x": x, "y": y}]})
    touch({"type": "touchEnd", "touchPoints": []})
    assert places(page.hints())[0] == pytest.approx((200, 350), abs=2)
    for button in page.page.locator("#viewer button:visible, #viewer input:visible").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 24, button.evaluate("button => button.outerHTML")
    page.rings.nth(1).tap()
    page.page.locator("[data-do=remove]").tap()
    assert len(page.hints()) == 1
    assert [len(entry["hints"]) for entry in page.exported()] == [1]


def test_only_colours_of_the_places_lightness_are_offered(hinting):
    page = hinting()
    for x, y in ((100, 400), (200, 100), (430, 60)):
        page.point(x, y)
        of_place = color.lightness(PORTRAIT[y - 3 : y + 3, x - 3 : x + 3]).mean()
        chosen = []
        for hue in (0, 150, 300):
            page.dial(hue, colour=100)  # the most of it that there is
            chosen.append(page.hints()[-1]["color"])
        page.page.locator("#plane").click(position={"x": 3, "y": 3})  # outside of what there is
        chosen.append(page.hints()[-1]["color"])
        rgb = np.array([[list(bytes.fromhex(code[1:])) for code in chosen]], np.uint8)
        labs = color.rgb_to_lab(rgb)[0]
        assert np.abs(labs[:, 0] - of_place).max() < 4 and np.ptp(labs[:, 0]) < 2
        assert np.linalg.norm(labs[:3, 1:], axis=1).min() > 10


def test_a_colour_from_another_photograph(hinting):
    page = hinting("camera")
    page.point(200, 200)
    page.page.locator("[data-do=pick]").click()
    assert "another photograph" in page.told()
    page.page.locator("[data-do=close]").click()
    page.open("portrait")
    page.page.wait_for_function("() => see(shownRow()) instanceof ImageData")
    page.page.mouse.click(*page.at(190, 110))
    page.page.get_by_text("Hint 1 of 1").wait_for()
    assert page.page.locator("#viewer-name").inner_text() == "camera.png"
    (hint,) = page.hints()
    skin = page.page.evaluate(
        """([x, y]) => {
          const [{ x: i, y: j }] = hintsOf(shownRow()), L = labAt(shownRow(), i, j)[0];
          const [, a, b] = labAt(data.name.indexOf('portrait.png'), x, y);
          return fitting([L, a, b]);
        }""",
        [190, 110],
    )
    np.testing.assert_allclose(chroma_of(hint["color"]), skin[1:], atol=3)
    page.page.locator("[data-do=pick]").click()
    page.press("Escape")
    assert page.told().startswith("Hint 1 of 1"), "picking was given up"


def test_hints_are_found_again_and_those_of_the_catalogue_can_be_changed(job, hinting, tmp_path, look):
    (tmp_path / "hints.csv").write_text("path,x,y,color\nportrait.png,100,400,#2e8b57\n")
    assert run(job, tmp_path / "out", hints=str(tmp_path / "hints.csv")) == cli.OK
    page = Hinting(look(tmp_path / "out/review/index.html"))
    assert page.rings.count() == 1 and page.hints()[0]["color"] == "#2e8b57"
    assert page.page.locator(".decide [aria-pressed=true]").count() == 0, "nothing has been said yet"
    page.point(*FLAG)
    page.page.reload()
    page = Hinting(page.shown)
    np.testing.assert_allclose(places(page.hints()), [(100, 400), FLAG], atol=1)
    page.rings.nth(1).focus()
    page.press("Delete")
    page.page.locator(".decide [aria-pressed=true]").wait_for(state="detached")  # as before, so nothing is to be redone
    page.rings.first.focus()
    page.press("Backspace")
    assert [entry["hints"] for entry in page.exported()] == [[]], "which takes them back"
    (tmp_path / "decisions.json").write_bytes(page.shown.exported("json"))
    assert run(job, tmp_path / "out", only=str(tmp_path / "decisions.json")) == cli.OK
    assert rows_of(tmp_path / "out")["portrait"]["hints"] is None


def test_one_answer_for_those_that_look_alike(hinting):
    page = hinting()
    page.point(100, 400)
    page.dial(hue=150, colour=80)
    page.page.locator("[data-do=offer]").click()
    boxes = page.page.locator("#offered input")
    page.page.locator("#offered li", has_text="moon.png").wait_for()
    names = page.page.locator("#offered li").all_inner_texts()
    assert [name.strip() for name in names] == ["smaller.png", "moon.png"], "of its shape, those that look alike first"
    assert boxes.nth(0).is_checked() and not boxes.nth(1).is_checked()
    assert serious(page.shown) == []
    page.page.locator("[data-do=give]").click()
    page.page.get_by_text("Given to 1 photograph", exact=True).wait_for()
    found = {Path(entry["source"]).stem: entry for entry in page.exported()}
    assert set(found) == {"portrait", "smaller"} and found["smaller"]["decision"] == "redo"
    (own,), (given,) = found["portrait"]["hints"], found["smaller"]["hints"]
    assert (given["x"], given["y"]) == pytest.approx((own["x"] / 2, own["y"] / 2), abs=1)
    assert given["color"] != "none"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_bars_people(hinting, viewport, scheme):
    page = hinting(viewport=viewport, color_scheme=scheme)
    assert serious(page.shown) == []
    page.point(100, 400)
    assert serious(page.shown) == []
    assert page.page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
