"""Jobs that are killed, starved of their server, and fed with rubbish, over and over: `make chaos`, minutes each."""

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

from jobs import colorize
from jobs.coloring.config import ColorizeConfig
from jobs.storage.catalog import Catalog

pytestmark = pytest.mark.chaos

PHOTOGRAPHS, KILLS, FUZZED = 300, 20, 2000


def command(source, output, *options) -> list[str]:
    return [sys.executable, "-m", "jobs.colorize", str(source), str(output), *options]


def outputs(output: Path) -> dict[str, bytes]:
    files = (path for path in sorted(output.glob("images/**/*")) if path.is_file())
    return {str(path.relative_to(output)): path.read_bytes() for path in files}


def leftovers(output: Path) -> list[Path]:
    return [path for path in output.rglob(".*") if path.is_file()]


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    pictures = [getattr(data, name)() for name in ("camera", "coins", "moon")]
    for i in range(PHOTOGRAPHS):
        Image.fromarray(pictures[i % 3][i % 100 :, : 160 + i]).save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture(scope="module")
def undisturbed(scans, tmp_path_factory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("undisturbed")
    subprocess.run(command(scans, output, "--actors", "1"), check=True)
    return outputs(output)


def check(output: Path, undisturbed: dict[str, bytes]) -> None:
    rows = pq.read_table(output / "catalog").to_pylist()
    assert Counter(row["status"] for row in rows) == {"ok": len(undisturbed)}
    assert len({row["id"] for row in rows}) == len(undisturbed)
    assert outputs(output) == undisturbed
    assert not leftovers(output)


def test_a_driver_killed_twenty_times(scans, undisturbed, tmp_path):
    """By how far it has come, not by the clock: as it starts, as its workers start, and after some photographs."""
    rng, output = random.Random(0), tmp_path / "out"
    job = command(scans, output, "--actors", "1:2")  # through Ray, also once few are left

    def stored() -> int:
        return len(list(output.glob("images/*.png")))

    for kill in range(KILLS):
        # What is left is for this kill and those that follow, and for the run that ends undisturbed.
        some = stored() + rng.randint(1, max(1, (PHOTOGRAPHS - stored()) // (KILLS - kill + 1)))
        process = subprocess.Popen(job, start_new_session=True, stdout=subprocess.PIPE, text=True)
        moment = ("it has counted its inputs", "its workers start", "photographs are stored")[kill % 3]
        if kill % 3 == 0:
            process.stdout.readline()
        while process.poll() is None and not (
            (kill % 3 == 0) or (kill % 3 == 1 and _workers(process.pid)) or (kill % 3 == 2 and stored() >= some)
        ):
            time.sleep(0.005)
        assert process.poll() is None, f"kill {kill + 1}: the job ended by itself before {moment}: {stored()} stored"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print(f"kill {kill + 1}, when {moment}: {stored()} photographs stored")
    subprocess.run(job, check=True)
    check(output, undisturbed)


def test_workers_killed_again_and_again(scans, undisturbed, tmp_path):
    process = subprocess.Popen(command(scans, tmp_path / "out"))
    rng, kills = random.Random(1), 0
    while process.poll() is None and kills < 6:
        time.sleep(0.005)
        workers = _workers(process.pid)
        if workers and len(list(tmp_path.glob("out/images/*"))) > kills * PHOTOGRAPHS // 8:
            os.kill(rng.choice(workers), signal.SIGKILL)
            kills += 1
    assert process.wait(600) == 0 and kills == 6
    check(tmp_path / "out", undisturbed)


def _workers(driver: int) -> list[int]:
    """The worker processes that colour for a driver; Ray starts them through a process of its own."""
    return [pid for pid in _processes("Actor)") if _parent(_parent(pid)) == driver]


def _processes(name: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if name.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:  # it has ended
            continue
    return found


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_two_jobs_at_once(scans, undisturbed, tmp_path):
    """One of them works, the other one says so and touches nothing."""
    for attempt in range(3):
        output = tmp_path / str(attempt)
        jobs = [
            subprocess.Popen(command(scans, output), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
            for _ in range(2)
        ]
        said = [job.communicate(timeout=600)[1] for job in jobs]
        assert sorted(job.returncode for job in jobs) == [0, 2]
        (refusal,) = [text for job, text in zip(jobs, said, strict=True) if job.returncode == 2]
        assert "error: another job" in refusal and refusal.count("\n") == 1
        check(output, undisturbed)


@pytest.mark.parametrize("format", ["png", "jpeg", "tiff", "parquet"])
def test_a_disk_that_fills_up(scans, tmp_path, format):
    """In the middle: nothing is lost, nothing half-written stays, and the same command finishes once there is room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        output, filler, foreign = disk / "out", disk / "filler", disk / "notes.txt"
        foreign.write_bytes(b"mine")
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        filler.write_bytes(bytes(free - 3_000_000))
        job = command(scans, output, "--format", format, "--no-review")
        done = subprocess.run(job, capture_output=True, text=True)
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr and "No space left" in done.stderr
        assert re.search(r"^error: .*the same command continues$", done.stderr, re.MULTILINE), done.stderr
        for row in Catalog(str(output)).read().to_pylist():
            assert row["status"] != "ok" or Path(row["output"]).is_file()
        filler.unlink()
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        assert subprocess.run(job).returncode == 0
        rows = Catalog(str(output)).read().to_pylist()
        assert Counter(row["status"] for row in rows) == {"ok": PHOTOGRAPHS}
        if format == "parquet":
            assert pq.read_table(output / "parquet").num_rows == PHOTOGRAPHS
        else:
            for row in rows:
                assert hashlib.sha256(Path(row["output"]).read_bytes()).hexdigest() == row["output_sha256"]
        assert foreign.read_bytes() == b"mine" and not leftovers(output)
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def test_a_node_leaves(scans, undisturbed, tmp_path):
    output = tmp_path / "out"
    job = command(scans, output)
    assert left_by_a_node(job, lambda: len(list(output.glob("images/*"))) >= PHOTOGRAPHS // 5) == 0
    check(output, undisturbed)


def left_by_a_node(job: list[str], begun: Callable[[], bool]) -> int:
    """How a job ends on a cluster of which one of two nodes leaves without a word once it has ``begun``."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=2)
        process = subprocess.Popen(job, env=os.environ | {"RAY_ADDRESS": cluster.address})
        while not begun():
            assert process.poll() is None
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)
        return process.wait(600)
    finally:
        cluster.shutdown()


class _Flaky(BaseHTTPRequestHandler):
    """Passes requests on to an S3 server; answers some with 500 or 503, and some late."""

    protocol_version = "HTTP/1.1"
    upstream: str
    rng: ClassVar = random.Random(2)
    refused: ClassVar = Counter()

    def _pass_on(self):
        body = self._body()
        chance = self.rng.random()
        if chance < 0.1:
            code = 500 if chance < 0.05 else 503
            self.refused[code] += 1
            return self._answer(code, {}, b"")
        if chance < 0.15:
            time.sleep(1.0)
        dropped = ("content-length", "transfer-encoding", "expect")
        headers = {key: value for key, value in self.headers.items() if key.lower() not in dropped}
        connection = HTTPConnection(self.upstream.removeprefix("http://"))
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        self._answer(answer.status, answer.headers, answer.read())
        connection.close()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while length := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(length))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on

    def _answer(self, code: int, headers, body: bytes):
        self.send_response(code)
        for key, value in headers.items():
            if key.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(key, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args):
        pass


def test_s3_that_fails_and_dawdles_and_one_kill(scans, undisturbed, s3_endpoint):
    _Flaky.upstream = s3_endpoint
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Flaky)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    s3 = fsspec.filesystem("s3", endpoint_url=s3_endpoint, skip_instance_cache=True)
    s3.mkdir("chaos")
    s3.put(str(scans), "chaos/scans", recursive=True)
    environment = os.environ | {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{server.server_port}"}
    try:
        job = command("s3://chaos/scans", "s3://chaos/out")
        process = subprocess.Popen(job, env=environment, start_new_session=True)
        while len(s3.find("chaos/out/images", refresh=True)) < PHOTOGRAPHS // 5:
            assert process.poll() is None
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        subprocess.run(job, env=environment, check=True)
    finally:
        server.shutdown()
    assert _Flaky.refused[500] > 10 and _Flaky.refused[503] > 10
    s3.invalidate_cache()
    rows = pq.read_table("chaos/out/catalog", filesystem=s3).to_pylist()
    assert Counter(row["status"] for row in rows) == {"ok": PHOTOGRAPHS}
    stored = {path.removeprefix("chaos/out/"): s3.cat_file(path) for path in s3.find("chaos/out/images")}
    assert stored == undisturbed


@pytest.mark.parametrize("format", ["tiff", "jpeg"])
def test_thousands_of_damaged_files(shared, tmp_path, format):
    """Bit flips, cuts, and headers of other files: a row each, and no end of the job."""
    rng = np.random.default_rng(3)
    originals = [path.read_bytes() for path in sorted((shared / "odd").rglob("*")) if path.is_file()]
    (tmp_path / "scans").mkdir()
    for i in range(FUZZED):
        content = bytearray(originals[i % len(originals)])
        kind = ("flip", "cut", "header")[i % 3]
        if kind == "flip" and content:
            for _ in range(rng.integers(1, 20)):
                reach = len(content) if rng.random() < 0.5 else min(512, len(content))
                content[rng.integers(reach)] ^= 1 << rng.integers(8)
        elif kind == "cut":
            content = content[: rng.integers(len(content) + 1)]
        elif kind == "header":
            other = originals[rng.integers(len(originals))]
            length = int(rng.integers(4, 64))
            content[:length] = other[:length]
        (tmp_path / f"scans/{i:04d}-{kind}").write_bytes(content)
    status = colorize.main(
        ColorizeConfig(
            source=str(tmp_path / "scans"), output=str(tmp_path / "out"), format=format, if_color="recolor", timeout=30
        )
    )
    rows = pq.read_table(tmp_path / "out/catalog").to_pylist()
    counts = Counter(row["status"] for row in rows)
    print(counts, Counter(row["error"] for row in rows if row["error"] and "three times" in row["error"]))
    assert status == 3 and len(rows) == FUZZED and len({row["id"] for row in rows}) == FUZZED
    for row in rows:
        if row["status"] == "ok":
            with Image.open(row["output"]) as image:
                image.load()
        else:
            assert len(row["error"]) > 40 and "please report this" not in row["error"], row
