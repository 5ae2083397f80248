"""How soon the review page of many photographs shows its first view, in a real browser, from disk.

    python -m benchmarks.review_page [--photographs 20000 250000] [--rounds 5]

The first view is there when its first twelve thumbnails are. All thumbnails are alike, which a browser does not know.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import cyclopts
from rich.console import Console
from rich.table import Table

from jobs import cli
from jobs.cli import OPTIONS, UsageError
from jobs.pages.review import page as review_page
from tests.browser import CHROMIUM, DESKTOP, launched
from tests.many_photographs import write_page


@dataclass(kw_only=True)
class ReviewPageConfig:
    """Measure how soon review pages are there."""

    photographs: Annotated[tuple[int, ...], cli.SEVERAL] = (20_000, review_page.MOST)
    """On each page."""
    rounds: int = 5
    """Visits to each page, of which the median counts."""


def main(config: Annotated[ReviewPageConfig, OPTIONS] = ReviewPageConfig()) -> int:  # noqa: B008
    if not CHROMIUM:
        raise UsageError("there is no chromium to look at pages with: apt-get install chromium")
    table = Table()
    for heading in ("photographs", "rows.js, MB", "requests", "first view, s", "slowest, s"):
        table.add_column(heading, justify="right")
    with launched() as browser, tempfile.TemporaryDirectory() as folder:
        for count in config.photographs:
            page = write_page(Path(folder, str(count)), count)
            visits = [_visit(browser, page) for _ in range(config.rounds)]
            seconds = [visit[0] for visit in visits]
            size = (page.parent / "rows.js").stat().st_size / 1e6
            median = statistics.median(seconds)
            table.add_row(f"{count:,}", f"{size:.1f}", str(visits[0][1]), f"{median:.2f}", f"{max(seconds):.2f}")
    Console(width=120).print(table)
    return cli.OK


def _visit(browser, page: Path) -> tuple[float, int]:
    """Seconds until the first view is there, and requests that it took."""
    context, requests = browser.new_context(viewport=DESKTOP), []
    tab = context.new_page()
    tab.on("request", requests.append)
    began = time.monotonic()
    tab.goto(f"file://{page}")
    tab.locator(".after[src]").nth(11).wait_for()
    seconds = time.monotonic() - began
    context.close()
    return seconds, len(requests)


if __name__ == "__main__":
    cli.run(partial(cyclopts.run, main))
