"""A real browser to look at pages with, where there is one."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


@contextmanager
def launched() -> Iterator:
    """Playwright's ``Browser``."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as drivers:
        chromium = drivers.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


class Looking:
    """A page in the browser, and what went wrong or was asked for on it."""

    def __init__(self, browser, place: str, viewport: dict = DESKTOP, **options):
        self.context = browser.new_context(viewport=viewport, **options)
        self.page = self.context.new_page()
        self.problems, self.requests = [], []
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: self.problems.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(place)

    def names(self) -> list[str]:
        self.page.locator(".card").first.wait_for()
        return self.page.locator(".card .name").all_inner_texts()

    def thumbnails(self) -> int:
        return sum("/thumbnails/" in url for url in self.requests)

    def choose(self, name: str, value: str) -> None:
        self.page.locator(f"[name={name}]").select_option(value)

    def exported(self, format: str) -> bytes:
        with self.page.expect_download() as waiting:
            self.page.locator(f"[data-export={format}]").click()
        return Path(waiting.value.path()).read_bytes()


def serious(shown: Looking) -> list[str]:
    """What axe-core finds that bars people."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="for want of axe-core: pip install '.[test]'"
    )
    found = axe.Axe().run(shown.page).response["violations"]
    return [
        f"{finding['id']}: {node['html']}"
        for finding in found
        if finding["impact"] in ("serious", "critical")
        for node in finding["nodes"]
    ]
