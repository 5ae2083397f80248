import logging
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests import sample_archive
from tests.browser import CHROMIUM, Looking, launched

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as jobs does

SHARED = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter):
    """Say in the end how many tests were skipped for want of what: without a browser no page was looked at."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} {'test' if count == 1 else 'tests'} skipped {reason}", yellow=True)


@pytest.fixture(scope="session")
def samples(tmp_path_factory) -> Path:
    """A folder with ``scans`` and ``originals``, as the demo makes it."""
    folder = tmp_path_factory.mktemp("samples")
    sample_archive.write(folder)
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """Photographs that are kept beside the checkout, where there are any."""
    if not SHARED.is_dir():
        pytest.skip(f"for want of photographs in {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def s3_endpoint():
    """A local S3 server; it must be there before Ray starts, since workers take the environment of that moment."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it tells of every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    yield os.environ["AWS_ENDPOINT_URL_S3"]
    server.stop()


@pytest.fixture(scope="session")
def ray_local(s3_endpoint):
    """One local Ray for every test that needs it."""
    import ray

    from jobs import cluster

    cluster.start()
    yield
    ray.shutdown()


def _go_beside(patch: pytest.MonkeyPatch) -> None:
    from jobs.coloring import few

    patch.setattr(few, "are", lambda todo, config: not (config.actors or config.gpus))


@pytest.fixture
def beside(monkeypatch):
    """Jobs of few photographs go without Ray, as in a process of their own, although other tests have started it."""
    _go_beside(monkeypatch)


@pytest.fixture(scope="module")
def all_beside():
    """The same in a whole module."""
    with pytest.MonkeyPatch.context() as patch:
        _go_beside(patch)
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        pytest.skip("for want of chromium: apt-get install chromium")
    pytest.importorskip("playwright.sync_api", reason="for want of Playwright: pip install '.[test]'")
    with launched() as chromium:
        yield chromium


@pytest.fixture
def look(browser):
    """Opens a page, by its path or address."""
    opened = []

    def open_page(place, **options) -> Looking:
        opened.append(Looking(browser, place if "://" in str(place) else f"file://{place}", **options))
        return opened[-1]

    yield open_page
    for looking in opened:
        looking.context.close()
