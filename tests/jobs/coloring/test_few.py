"""A few photographs: the same as through Ray, from one process beside the driver that may die."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs import cli, colorize
from jobs.cli import JobFailed
from jobs.coloring import few
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.worker import ColorizeActor
from jobs.machine import scratch
from tests.jobs.test_colorize import FaultyActor


def run(source, output, **options) -> int:
    return colorize.main(ColorizeConfig(source=str(source), output=str(output), **options))


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "jobs.colorize", *map(str, arguments)]


@pytest.fixture
def scans(tmp_path) -> Path:
    (tmp_path / "scans").mkdir()
    for i in range(20):
        Image.fromarray(np.full((32, 40 + i), 90, np.uint8)).save(tmp_path / f"scans/{i:02d}.png")
    return tmp_path / "scans"


def rows(output) -> list[dict]:
    """Without what two runs of the same job differ in."""
    found = pq.read_table(f"{output}/catalog").sort_by("source").to_pylist()
    return [{name: row[name] for name in row if name not in ("seconds", "finished_at", "output")} for row in found]


def files(output, *folders: str) -> dict[str, bytes]:
    found = (path for folder in folders for path in Path(output, folder).rglob("*") if path.is_file())
    return {str(path.relative_to(output)): path.read_bytes() for path in found}


def ours(driver: int) -> list[int]:
    """The processes that a driver has started to colour."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == driver and b"jobs.coloring" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:  # it has ended
            continue
    return found


def test_the_same_as_through_ray(ray_local, samples, tmp_path, monkeypatch):
    """Bytes, rows, settings and thumbnails, also of variants and of what cannot be read."""
    options = {"format": "keep", "variants": 2, "confidence_map": True}
    assert run(samples / "scans", tmp_path / "ray", **options) == 3
    monkeypatch.setattr(few, "are", lambda todo, config: True)
    assert run(samples / "scans", tmp_path / "few", **options) == 3
    written = "images", "variants", "confidence", "settings"
    assert files(tmp_path / "few", *written) == files(tmp_path / "ray", *written)
    assert rows(tmp_path / "few") == rows(tmp_path / "ray")
    pages = [(tmp_path / name / "review/rows.js").read_text() for name in ("few", "ray")]
    assert pages[0] == pages[1].replace(str(tmp_path / "ray"), str(tmp_path / "few"))
    assert not ours(os.getpid())


def test_the_driver_needs_no_ray(samples, tmp_path):
    code = "import sys; from jobs import cli, colorize\n"
    code += "try: cli.command_line(colorize.app, sys.argv[1:])\n"
    code += "finally: print([name for name in ('ray', 'matplotlib', 'skimage') if name in sys.modules])"
    line = [sys.executable, "-c", code, samples / "scans/portraits", tmp_path / "out"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "[]", done


def test_a_file_that_crashes_or_hangs_the_decoder_is_a_row(beside, scans, tmp_path, monkeypatch):
    (scans / "03.png").rename(scans / "crash.png")
    (scans / "13.png").rename(scans / "hang.png")
    monkeypatch.setattr(few, "ColorizeActor", FaultyActor)
    assert run(scans, tmp_path / "out", timeout=30.0) == 3
    found = {Path(row["source"]).name: row for row in rows(tmp_path / "out")}
    assert len(found) == 20
    assert {name for name, row in found.items() if row["status"] != "ok"} == {"crash.png", "hang.png"}
    assert "three times" in found["crash.png"]["error"] and "longer than 30 s" in found["hang.png"]["error"]
    assert "Segmentation fault" in Path(scratch.folder(), few.LOG).read_text(), "where, for whoever looks into it"


class KilledOnce(ColorizeActor):
    """By somebody else, such as the system where memory runs out."""

    def _decode(self, scan):
        if scan.path == "03.png" and not os.path.exists(mark := f"{self.job.output}/settings/killed"):
            open(mark, "wb").close()
            os.kill(os.getpid(), signal.SIGKILL)
        super()._decode(scan)


def test_a_process_that_is_killed_is_replaced(beside, scans, tmp_path, monkeypatch):
    monkeypatch.setattr(few, "ColorizeActor", KilledOnce)
    assert run(scans, tmp_path / "out") == 0
    assert (tmp_path / "out/settings/killed").exists() and len(files(tmp_path / "out", "images")) == 20


class NeverReady(ColorizeActor):
    def __init__(self, job):
        with open(f"{job.output}/settings/started", "ab") as file:
            file.write(b".")
        os._exit(7)


def test_where_no_process_stays_alive_the_job_ends(beside, scans, tmp_path, monkeypatch):
    monkeypatch.setattr(few, "ColorizeActor", NeverReady)
    with pytest.raises(JobFailed, match=r"ends again and again; \S+ has its last words: .*the same command continues"):
        run(scans, tmp_path / "out")
    assert (tmp_path / "out/settings/started").stat().st_size == 3


class Wrong(ColorizeActor):
    def __call__(self, batch):
        raise (JobFailed if len(batch) == few.BATCH else ZeroDivisionError)("this machine is at fault")


def test_what_a_worker_raises_ends_the_job(beside, scans, tmp_path, monkeypatch):
    monkeypatch.setattr(few, "ColorizeActor", Wrong)
    with pytest.raises(JobFailed, match="this machine is at fault"):
        run(scans, tmp_path / "out")
    monkeypatch.setattr(few, "BATCH", 5)
    with pytest.raises(ZeroDivisionError) as raised:
        run(scans, tmp_path / "out")
    assert "in __call__" in raised.value.__notes__[0], "where it was raised"
    assert not ours(os.getpid())


@pytest.fixture
def as_in_a_terminal():
    """Ctrl-C counts for processes that are started: where a script runs the tests in the background, it is ignored by
    them, and by what they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("end", ["ctrl-c", "SIGTERM", "SIGKILL"])
def test_a_job_that_is_stopped_continues(as_in_a_terminal, tmp_path, end, request):
    """The process beside it ends with it, at once."""
    (tmp_path / "scans").mkdir()
    rng = np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(rng.integers(0, 255, (350, 400 + i), np.uint8)).save(tmp_path / f"scans/{i:02d}.png")
    process = subprocess.Popen(
        command(tmp_path / "scans", tmp_path / "out"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    request.addfinalizer(process.kill)
    child = 0
    while (stored := len(list(tmp_path.glob("out/images/*.png")))) <= few.BATCH:
        assert process.poll() is None
        if stored and not child:
            (child,) = ours(process.pid)
        time.sleep(0.01)
    os.kill(child, signal.SIGSTOP)  # or on a busy machine it might be done before its driver hears
    if end == "ctrl-c":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    else:
        process.send_signal(signal.Signals[end])
    _, said = process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{child}").exists()
    stored = len(list(tmp_path.glob("out/images/*.png")))
    assert stored < 40, "it was too late to show anything"
    if end != "SIGKILL":
        assert process.returncode == cli.INTERRUPTED and said == "stopped; the same command continues\n"
        assert few.BATCH <= len(rows(tmp_path / "out")) <= stored, "what was done is recorded"
    done = subprocess.run(command(tmp_path / "scans", tmp_path / "out", "--json"), capture_output=True, text=True)
    assert done.returncode == 0 and json.loads(done.stdout)["status"]["ok"] == 40
    assert len(rows(tmp_path / "out")) == 40 and not list((tmp_path / "out").rglob(".*"))


def test_when_ray_is_left_alone(monkeypatch):
    def are(count=1, size=1, **options):
        todo = pa.table({"bytes": pa.array([size] * count, pa.int64())})
        return few.are(todo, ColorizeConfig(source="a", output="b", **options))

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert are() and are(few.MOST) and are(gpus=0)
    assert not are(few.MOST + 1) and not are(2, few.MOST_BYTES)
    assert not are(actors="1") and not are(gpus=0.5), "asked for by number"
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert not are(), "on a cluster"
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: True))
    assert not are(), "where Ray has been started already"


def test_its_lines_are_kept_until_the_next_job(beside, scans, tmp_path):
    assert run(scans, tmp_path / "out") == 0
    log = Path(scratch.folder(), few.LOG).read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [line["event"] for line in lines].count("photograph") == 20 and lines[0]["event"] == "ready"
    assert all(re.fullmatch(r"\d+", str(line["process"])) for line in lines)
