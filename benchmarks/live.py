"""How soon a hint on the served review page is seen in the photograph's colours, in a real browser.

    python -m benchmarks.live [--megapixels 2 12] [--hints 40]

From the press of the mouse's button to the frame that shows the new picture. The server has one core of the machine,
the browser all.
"""

import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import cyclopts
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from skimage import data

from colorize_core import color
from jobs import cli, colorize
from jobs.cli import OPTIONS, UsageError
from jobs.coloring.config import ColorizeConfig
from tests.browser import CHROMIUM, DESKTOP, launched

WATCH = """() => {
  let began;
  window.latencies = [];
  addEventListener("pointerdown", () => (began = performance.now()), true);
  const shown = showLive;
  showLive = async (...given) => {
    await shown(...given);
    requestAnimationFrame(() => latencies.push(performance.now() - began));
  };
}"""


@dataclass(kw_only=True)
class LiveConfig:
    """Measure how soon hints are seen."""

    megapixels: Annotated[tuple[float, ...], cli.SEVERAL] = (2, 12)
    """Of scans, one each."""
    hints: int = 40
    """On each."""


def main(config: Annotated[LiveConfig, OPTIONS] = LiveConfig()) -> int:  # noqa: B008
    if not CHROMIUM:
        raise UsageError("there is no chromium to look at pages with: apt-get install chromium")
    table = Table()
    for heading in ("megapixels", "hints", "opened, ms", "median, ms", "95th percentile, ms", "slowest, ms"):
        table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        scans, output = Path(folder, "scans"), Path(folder, "colour")
        scans.mkdir()
        for megapixels in config.megapixels:
            side = round((1e6 * megapixels / 1.5) ** 0.5)
            grey = cv2.resize(color.grey_of(data.astronaut())[:342], (round(1.5 * side), side))
            Image.fromarray(grey).save(scans / f"{megapixels:g}.jpg", quality=92)
        colorize.main(ColorizeConfig(source=str(scans), output=str(output)))
        command = [sys.executable, "-m", "jobs.review", str(output), "--serve"]
        core = max(os.sched_getaffinity(0))
        with (
            subprocess.Popen(
                command, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {core})
            ) as server,
            launched() as browser,
        ):
            try:
                assert server.stdout
                address = next(filter(None, (re.search(r"http://\S+", line) for line in server.stdout)))[0]
                for megapixels in config.megapixels:
                    opened, times = _visit(browser, address, f"{megapixels:g}.jpg", config.hints)
                    found = [opened, statistics.median(times), np.percentile(times, 95), max(times)]
                    table.add_row(f"{megapixels:g}", str(len(times)), *(f"{1000 * s:.0f}" for s in found))
            finally:
                server.terminate()
    Console(width=120).print(table)
    return cli.OK


def _visit(browser, address: str, name: str, count: int) -> tuple[float, list[float]]:
    """Seconds until the photograph can take hints, and those of each hint."""
    context = browser.new_context(viewport=DESKTOP)
    tab = context.new_page()
    tab.goto(address)
    tab.locator(".card", has=tab.get_by_text(name, exact=True)).locator(".open").click()
    tab.evaluate("() => (window.opened = performance.now())")
    tab.keyboard.press("h")
    tab.wait_for_function("() => home.likeliest(shownRow()) && see(shownRow()) instanceof ImageData")
    opened = tab.evaluate("() => (performance.now() - opened) / 1000")
    tab.evaluate(WATCH)
    box = tab.locator(".stage .comparison").bounding_box()
    side = math.ceil(count**0.5)
    cells = np.random.default_rng(0).permutation(side**2)[:count]
    for number, cell in enumerate(cells, 1):  # apart, since a click on a ring gives no hint
        y, x = (np.array(divmod(int(cell), side)) + 0.5) / side
        tab.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        tab.wait_for_function("count => latencies.length === count", arg=number)
    times = tab.evaluate("() => latencies")
    context.close()
    return opened, [t / 1000 for t in times]


if __name__ == "__main__":
    cli.run(partial(cyclopts.run, main))
