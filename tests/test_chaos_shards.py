"""Jobs over shards whose driver, workers or nodes are killed, over and over: `make chaos`, minutes each."""

import os
import random
import signal
import subprocess
import tarfile
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

from tests.test_chaos import _workers, command, left_by_a_node, leftovers

pytestmark = pytest.mark.chaos

SHARDS, EACH, DRIVER_KILLS, WORKER_KILLS = 30, 9, 10, 5


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """Shards of three sizes; a photograph in each is cut short."""
    folder = tmp_path_factory.mktemp("archive")
    pictures = [getattr(data, name)() for name in ("camera", "coins", "moon")]
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard:02d}.tar", "w") as archive:
            for i in range(EACH + 5 * (shard % 3)):
                file = folder / f"{shard:02d}-{i:02d}.{'jpg' if i % 2 else 'png'}"
                Image.fromarray(pictures[i % 3][i:, : 160 + shard]).save(file)
                if i == 7:
                    os.truncate(file, 500)
                archive.add(file, file.name)
                file.unlink()
    return folder


def made(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(output.glob("shards/*.tar"))}


def stamps(output: Path) -> dict[str, int]:
    """When each shard was done."""
    return {path.name: path.stat().st_mtime_ns for path in output.glob("catalog/shard-*.parquet")}


def done(output: Path) -> int:
    return len(stamps(output))


@pytest.fixture(scope="module")
def undisturbed(archive, tmp_path_factory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("undisturbed")
    assert subprocess.run(command(archive, output, "--actors", "1")).returncode == 3
    return made(output)


def check(output: Path, undisturbed: dict[str, bytes]) -> None:
    rows = pq.read_table(output / "catalog", columns=["id", "status"]).to_pylist()
    count = sum(EACH + 5 * (shard % 3) for shard in range(SHARDS))
    assert Counter(row["status"] for row in rows) == {"ok": count - SHARDS, "error": SHARDS}
    assert len({row["id"] for row in rows}) == count, "none lost, none twice"
    assert made(output) == undisturbed
    assert not leftovers(output)


def test_a_driver_killed_again_and_again(archive, undisturbed, tmp_path):
    """What was done stays as it is: the shards that its two workers were at are begun again, and no others."""
    rng, output, first = random.Random(0), tmp_path / "out", dict[str, int]()
    job = command(archive, output, "--actors", "2")
    for kill in range(DRIVER_KILLS):
        process = subprocess.Popen(job, start_new_session=True, stdout=subprocess.DEVNULL)
        before = done(output)
        while process.poll() is None and not (kill % 3 == 0 and _workers(process.pid)) and done(output) == before:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.3)
        assert process.poll() is None, f"kill {kill + 1}: the job ended by itself"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        first = stamps(output) | first
        print(f"kill {kill + 1}: {len(first)} shards done")
    assert subprocess.run(job).returncode == 3
    check(output, undisturbed)
    assert stamps(output) | first == stamps(output), "none of them done again"


def test_workers_killed_again_and_again(archive, undisturbed, tmp_path):
    """Each kill costs what its worker was at: a shard that it has not yet told the driver of is done again."""
    output = tmp_path / "out"
    process = subprocess.Popen(command(archive, output, "--actors", "2"))
    rng, kills, first = random.Random(1), 0, dict[str, int]()
    while process.poll() is None and kills < WORKER_KILLS:
        time.sleep(0.005)
        workers = _workers(process.pid)
        if workers and done(output) > kills * SHARDS // (WORKER_KILLS + 2):
            time.sleep(rng.random() * 0.5)
            first = stamps(output) | first
            os.kill(rng.choice(workers), signal.SIGKILL)
            kills += 1
    assert process.wait(600) == 3 and kills == WORKER_KILLS
    check(output, undisturbed)
    last = stamps(output)
    assert sum(last[shard] != then for shard, then in first.items()) <= WORKER_KILLS


def test_a_node_leaves(archive, undisturbed, tmp_path):
    output = tmp_path / "out"
    assert left_by_a_node(command(archive, output), lambda: done(output) >= SHARDS // 4) == 3
    check(output, undisturbed)
