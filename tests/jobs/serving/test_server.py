"""The review page with a server of its own: what it does for its page, and for nobody else."""

import asyncio
import contextlib
import http.client
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from skimage import data
from skimage.color import deltaE_ciede2000, rgb2lab

from colorize_core import color, openvino_engine, photo
from colorize_core.colorizer import Colorizer
from colorize_core.hints import Hint, chroma_of
from jobs import cli, colorize
from jobs.coloring.config import ColorizeConfig
from jobs.pages.review import page as review_page
from jobs.serving import applying
from jobs.serving.live import Live
from jobs.serving.saved import Saved
from jobs.serving.server import MOST_BYTES, Server, alone
from jobs.storage.catalog import SCHEMA, Catalog

GREEN = {"x": 100, "y": 400, "color": "#2e8b57", "radius": 0}
NAMES = ("portrait", "camera", "coffee")


@pytest.fixture(scope="module")
def done(all_beside, tmp_path_factory) -> Path:
    """A folder with ``scans`` and ``out``, where a job has been done."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "scans").mkdir()
    Image.fromarray(color.grey_of(data.astronaut())).save(folder / "scans/portrait.png")
    Image.fromarray(data.camera()[:, :400]).save(folder / "scans/camera.png")
    Image.fromarray(color.grey_of(data.coffee())).save(folder / "scans/coffee.png")
    source, output = str(folder / "scans"), str(folder / "out")
    assert colorize.main(ColorizeConfig(source=source, output=output, vividness=0.4)) == cli.OK
    return folder


@pytest.fixture
def folder(done, tmp_path) -> Path:
    """A copy of it."""
    shutil.copytree(done / "scans", tmp_path / "scans")
    shutil.copytree(done / "out", tmp_path / "out")
    rows = Catalog(str(done / "out")).read().to_pylist()
    for row in rows:
        for name in ("source", "output"):
            row[name] = row[name].replace(str(done), str(tmp_path))
    shutil.rmtree(tmp_path / "out/catalog")
    Catalog(str(tmp_path / "out")).append(pa.Table.from_pylist(rows, SCHEMA))
    marker = json.loads((tmp_path / "out/colorize.json").read_text())
    (tmp_path / "out/colorize.json").write_text(json.dumps(marker | {"source": str(tmp_path / "scans")}))
    review_page.write(str(tmp_path / "out"))
    return tmp_path


@contextlib.contextmanager
def serving(output: Path):
    """A server in a thread of its own; gives the page's address."""
    found, ready, stop = {}, threading.Event(), None

    async def work() -> None:
        nonlocal stop
        stop = asyncio.Event()
        found["loop"] = asyncio.get_running_loop()
        async with Server(str(output), "default").started() as address:
            found["address"] = address
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    assert ready.wait(30)
    try:
        yield found["address"]
    finally:
        found["loop"].call_soon_threadsafe(stop.set)
        thread.join()


@pytest.fixture
def address(folder):
    with serving(folder / "out") as found:
        yield found


class Browser:
    """Requests as the page's own, unless they say otherwise."""

    def __init__(self, address: str):
        parts = urlsplit(address)
        self.host, self.root = parts.netloc, parts.path
        self.token = self.root.strip("/")

    def ask(self, method: str, path: str, body: object = None, raw: bytes | None = None, **headers: str | None):
        """Status and content. ``path`` begins with a slash, or is relative to the page."""
        connection = http.client.HTTPConnection(self.host, timeout=60)
        sent = {"Origin": f"http://{self.host}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        content = raw if raw is not None else json.dumps(body).encode() if body is not None else None
        host = sent.pop("Host", self.host)
        connection.putrequest(method, path if path.startswith("/") else self.root + path, skip_host=True)
        connection.putheader("Host", host)
        for name, value in sent.items():
            if value is not None:
                connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(content or b"")))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.endheaders(content)
        answer = connection.getresponse()
        return answer.status, answer.read()


def ids(output: Path) -> dict[str, str]:
    return {Path(row["source"]).stem: row["id"] for row in Catalog(str(output)).read().to_pylist()}


def settled(output: Path) -> dict[str, dict]:
    return {Path(row["source"]).stem: row for row in Catalog(str(output)).read().to_pylist()}


def test_hostile_requests_are_refused_and_touch_nothing(folder, address):
    page, portrait = Browser(address), ids(folder / "out")["portrait"]
    (folder / "secret.txt").write_text("secret")
    assert page.ask("GET", "")[0] == 200
    said = {"decision": "keep", "hints": None}
    hints = {"hints": [GREEN]}
    outside = ["../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "....//secret.txt", "/etc/passwd", "..\\secret",
               "%00", "a" * 5000, "é", "<script>", "';drop", "{id}", portrait[:-1], portrait + "0",
               portrait.upper(), "*",
               "file:///etc/passwd", f"{folder}/secret.txt"]  # fmt: skip
    quoted = [part.replace("é", "%c3%a9") for part in outside]
    requests: list[tuple] = []
    for kind in ("picture", "likeliest", "thumbnails"):
        requests += [("GET", f"{kind}/{id}", None, {}) for id in quoted]
    requests += [("GET", part, None, {}) for part in quoted]
    requests += [("PUT", f"decisions/{id}", said, {}) for id in quoted[:8]]
    requests += [("POST", f"live/{id}", hints, {}) for id in quoted[:8]]
    wrong = [page.token[:-1], page.token + "x", page.token.swapcase(), "", "x", "%00", "..", "null", "é".encode().hex()]
    requests += [("GET", f"/{token}/rows.js", None, {}) for token in wrong]
    requests += [("PUT", f"/{token}/decisions/{portrait}", said, {}) for token in wrong]
    other = ["http://evil.example", "null", f"https://{page.host}", "http://127.0.0.1", f"http://{page.host}.evil.example",
             f"http://localhost:{page.host.split(':')[1]}", None]  # fmt: skip
    requests += [("PUT", f"decisions/{portrait}", said, {"Origin": origin}) for origin in other]
    requests += [("POST", "apply", {}, {"Origin": origin}) for origin in other]
    requests += [("GET", "rows.js", None, {"Origin": "http://evil.example"})]
    requests += [
        ("GET", "rows.js", None, {"Host": host, "Origin": None})
        for host in ("evil.example", "127.0.0.1", "", "0.0.0.0")
    ]
    requests += [("GET", "rows.js", None, {"Sec_Fetch_Site": site}) for site in ("cross-site", "same-site")]
    requests += [
        (method, f"decisions/{portrait}", said, {}) for method in ("POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "GET")
    ]
    requests += [
        ("PUT", f"decisions/{portrait}", said, {"Content_Type": kind})
        for kind in ("text/plain", "application/x-www-form-urlencoded")
    ]
    bad = [[], "keep", 7, {"decision": "delete"}, {"decision": ["keep"]}, {"decision": "redo", "hints": "x"},
           {"decision": "redo", "hints": [{"x": -1, "y": 0, "color": "none"}]},
           {"decision": "redo", "hints": [GREEN] * 501},
           {"decision": "redo", "hints": [{"x": 513, "y": 0, "color": "none"}]}, {"decision": "redo", "hints": [{}]},
           {"decision": "redo", "hints": [{"x": "nan", "y": 0, "color": "none"}]},
           {"decision": "redo", "hints": [{"x": 1, "y": 1, "color": "url(x)"}]}]  # fmt: skip
    requests += [("PUT", f"decisions/{portrait}", body, {}) for body in bad]
    requests += [("POST", f"live/{portrait}", body, {}) for body in bad]
    assert len(requests) > 100

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    opened: list[str] = []
    watching = True
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if watching and event == "open" else None)
    for method, path, body, headers in requests:
        status, content = page.ask(method, path, body, **headers)
        assert 400 <= status < 500, (method, path, body, headers, status)
        assert b"secret" not in content or path.encode() in content
    for raw in (b"{", b"\xff\xfe", b"[" * 100_000, b"x" * (MOST_BYTES + 1)):
        assert page.ask("PUT", f"decisions/{portrait}", raw=raw)[0] in (400, 413)
    watching = False
    theirs = [path for path in opened if path.startswith(str(folder)) and not path.startswith(f"{folder}/out/")]
    assert theirs == [] and [path for path in opened if path.startswith("/etc/passwd")] == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert page.ask("PUT", f"decisions/{portrait}", said)[0] == 204, "its own page may"


def test_headers_keep_others_out(address):
    connection = http.client.HTTPConnection(Browser(address).host)
    connection.request("GET", urlsplit(address).path)
    headers = connection.getresponse().headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; ") and "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_live_colours_are_those_of_the_job(folder, address):
    page, portrait = Browser(address), ids(folder / "out")["portrait"]
    status, jpeg = page.ask("POST", f"live/{portrait}", {"hints": [GREEN]})
    assert status == 200
    shown = np.asarray(Image.open(io.BytesIO(jpeg)))
    grey = photo.read((folder / "scans/portrait.png").read_bytes()).grey
    hint = Hint(100, 400, chroma_of(GREEN["color"]))
    wanted = Colorizer.load(device="cpu").colorize(photo.Photo(grey), 0.4, [hint])
    assert deltaE_ciede2000(rgb2lab(shown), rgb2lab(wanted)).mean() < 1.5, "but for the JPEG"
    coffee = ids(folder / "out")["coffee"]
    corner = {"x": 600, "y": 400, "color": "none", "radius": 3}
    assert page.ask("POST", f"live/{coffee}", {"hints": [corner]})[0] == 200
    status, packed = page.ask("GET", f"likeliest/{portrait}", Origin=None)
    assert status == 200 and packed[0] == 12 and len(packed) == 1 + 12 * 12 * 10


def test_nothing_is_compiled_once_somebody_looks(folder, monkeypatch):
    live = Live("default")
    live.make_ready(512, 512)

    def compiles():
        raise AssertionError("somebody waits for it")

    monkeypatch.setattr(openvino_engine, "core", compiles)
    scan = str(folder / "scans/portrait.png"), ""
    assert live.likeliest(*scan) and live.picture(*scan, [GREEN], 0.4)


def test_hints_and_decisions_are_kept_and_applied_on_a_click(folder, address, look):
    shown = look(address)
    tab = shown.page
    tab.locator(".card", has=tab.get_by_text("portrait.png", exact=True)).locator(".open").click()
    tab.locator("[data-do=hints]").click()
    tab.wait_for_function("() => see(shownRow()) instanceof ImageData && home.likeliest(shownRow())")
    box = tab.locator(".stage .comparison").bounding_box()
    at = [box["x"] + 100 / 512 * box["width"], box["y"] + 400 / 512 * box["height"]]
    tab.mouse.click(*at)
    tab.locator("#likeliest button").nth(1).wait_for()
    tab.locator("#hue").fill("150")
    tab.locator("#chroma").fill("80")
    tab.locator(".stage .after[src^=blob]").wait_for()
    tab.wait_for_function("() => !busy && labAt(shownRow(), 100, 400)[1] < -20")
    tab.locator("[data-do=close]").click()
    tab.keyboard.press("ArrowRight")
    tab.locator(".card", has=tab.get_by_text("camera.png", exact=True)).locator(".open").focus()
    tab.keyboard.press("k")
    tab.wait_for_function("() => keeping.then(() => true)")
    tab.wait_for_timeout(400)
    kept = {
        Path(entry["source"]).stem: entry for entry in json.loads((folder / "out/review/decisions.json").read_text())
    }
    assert kept["camera"]["decision"] == "keep" and kept["portrait"]["decision"] == "redo"
    assert len(kept["portrait"]["hints"]) == 1
    tab.reload()
    assert sorted(tab.locator(".card .mark").all_inner_texts()) == ["", "Kept", "To redo, 1 hint"]
    before = settled(folder / "out")
    tab.locator("#apply").click()
    tab.wait_for_function(
        "() => document.readyState === 'complete' && data && data.hints[data.name.indexOf('portrait.png')]",
        timeout=90_000,
    )
    after = settled(folder / "out")
    assert after["portrait"]["hints"] == kept["portrait"]["hints"] and after["camera"]["decision"] == "keep"
    assert after["portrait"]["settings"] == before["portrait"]["settings"], "as it was coloured before"
    assert after["coffee"] == before["coffee"]
    assert json.loads((folder / "out/review/decisions.json").read_text()) == []
    assert not (folder / "out/review/applying.json").exists()
    assert shown.problems == []


def test_a_kill_while_decisions_are_applied_loses_none(folder):
    output = folder / "out"
    known, before = ids(output), settled(output)
    saved = Saved(str(output))
    saved.say(known["portrait"], "redo", [GREEN])
    saved.say(known["coffee"], "redo", None)
    saved.say(known["camera"], "reject", None)
    saved.write()
    saved.hand_over()
    job = subprocess.Popen(applying.command(str(output), "default", saved.copy), start_new_session=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    deadline = time.monotonic() + 60
    while settled(output)["camera"]["decision"] != "reject" and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    again = Saved(str(output))  # as the next server reads them
    undone = {name for name, row in settled(output).items() if row["finished_at"] == before[name]["finished_at"]}
    assert set(again.entries) == {known[name] for name in undone & {"portrait", "coffee"}}, "the decision is recorded"
    again.hand_over()
    if again.entries:
        subprocess.run(applying.command(str(output), "default", again.copy), check=True, stdout=subprocess.DEVNULL)
    again.settle()
    after = settled(output)
    assert again.entries == {} and after["camera"]["decision"] == "reject"
    assert after["portrait"]["hints"] == [GREEN] and after["coffee"]["finished_at"] > before["coffee"]["finished_at"]


def test_what_is_said_while_a_job_runs_stays(folder):
    output = folder / "out"
    known = ids(output)
    saved = Saved(str(output))
    saved.say(known["portrait"], "redo", [GREEN])
    saved.say(known["coffee"], "redo", None)
    saved.hand_over()
    saved.say(known["portrait"], "redo", [GREEN, GREEN | {"x": 5.0}])  # the job is at work
    rows = [row | {"finished_at": row["finished_at"].replace(year=2099)} for row in settled(output).values()]
    Catalog(str(output)).append(pa.Table.from_pylist(rows, SCHEMA))
    saved.settle()
    assert set(saved.entries) == {known["portrait"]} and len(saved.entries[known["portrait"]]["hints"]) == 2
    assert set(Saved(str(output)).entries) == {known["portrait"]}, "also on disk"


def test_one_server_for_a_place(folder):
    with (
        alone(str(folder / "out")),
        pytest.raises(cli.UsageError, match="is served already"),
        alone(str(folder / "out")),
    ):
        pass
