"""Both jobs on a cluster of several nodes, simulated by processes on this machine: `make cluster-test`."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

from tests.jobs.test_train import OPTIONS, history, newest_step, photographs, undisturbed  # noqa: F401, fixtures
from tests.test_chaos import check, command, outputs

pytestmark = pytest.mark.cluster

PHOTOGRAPHS = 2000  # small ones; batches enough for actors that come later
ROOT = Path(__file__).parents[1]


@contextmanager
def cluster_of(head: dict, *nodes: dict) -> Iterator:
    """A Ray cluster whose jobs find this environment's ``python``; there may be another Ray on this machine."""
    from ray.cluster_utils import Cluster

    path = os.environ["PATH"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{path}"
    cluster = Cluster(initialize_head=True, head_node_args={"dashboard_agent_listen_port": 0} | head)
    try:
        for node in nodes:
            cluster.add_node(**node)
        yield cluster
    finally:
        cluster.shutdown()
        os.environ["PATH"] = path


class Submitted:
    """A job that `ray job submit --working-dir .` has sent to a cluster."""

    def __init__(self, cluster, *entrypoint: str):
        self.options = ["--address", f"http://{cluster.webui_url}"]
        self.id = f"job-{time.monotonic_ns()}"
        wait_until(lambda: "Traceback" not in self._ray("list", early="Traceback"), 60)  # its server starts last
        submit = ["submit", "--submission-id", self.id, "--no-wait", "--working-dir", str(ROOT), "--"]
        early = "No available agent"
        wait_until(lambda: early not in self._ray(*submit, "python", *entrypoint, early=early), 60)

    def _ray(self, verb: str, *arguments: str, early: str | None = None) -> str:
        """What it prints. It may fail where it says that it is too ``early``."""
        ray = [str(Path(sys.executable).parent / "ray"), "job", verb, *self.options]
        done = subprocess.run([*ray, *arguments], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 or (early and early in done.stderr), done.stdout + done.stderr
        return done.stdout if done.returncode == 0 else done.stderr

    @property
    def status(self) -> str:
        return self._ray("status", self.id)

    @property
    def log(self) -> str:
        return self._ray("logs", self.id)

    def stop(self) -> None:
        self._ray("stop", self.id)

    def ended(self, seconds: float = 300) -> str:
        """The log of a job that has come to its end, one way or another."""
        wait_until(lambda: any(word in self.status for word in ("succeeded", "failed", "was stopped")), seconds)
        return self.log


def wait_until(true: Callable[[], bool], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)


def processes(title: str) -> list[int]:
    found = subprocess.run(["pgrep", "-f", title], stdout=subprocess.PIPE, text=True)
    return [int(pid) for pid in found.stdout.split()]


def told(cluster, event: str) -> list[dict]:
    """What workers have said, on all nodes."""
    logs = Path(cluster.head_node.get_session_dir_path(), "logs").glob("worker-*.err")
    lines = itertools.chain.from_iterable(path.read_text(errors="replace").splitlines() for path in logs)
    said = [json.loads(line) for line in lines if line.startswith('{"time"')]
    return [line for line in said if line["event"] == event]


def metric(cluster, name: str) -> float:
    """The sum over all nodes of what Ray's Prometheus endpoints say."""
    total = 0.0
    for node in cluster.global_state.node_table():
        if node["Alive"]:
            url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
            with urllib.request.urlopen(url) as response:
                lines = response.read().decode().splitlines()
            total += sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))
    return total


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    pictures = [getattr(data, name)() for name in ("camera", "coins", "moon")]
    for i in range(PHOTOGRAPHS):
        Image.fromarray(pictures[i % 3][i % 200 :, : 160 + i % 100]).save(folder / f"{i:04d}.png")
    return folder


@pytest.fixture(scope="module")
def coloured(scans, tmp_path_factory) -> dict[str, bytes]:
    """By a run on this machine that nothing disturbs."""
    output = tmp_path_factory.mktemp("coloured")
    subprocess.run(command(scans, output), check=True)
    return outputs(output)


def test_colouring_outlives_an_actor_a_node_and_its_driver(scans, coloured, tmp_path):
    output = tmp_path / "out"
    job = ["-m", "jobs.colorize", str(scans), str(output)]

    def stored() -> int:
        return len(list(output.glob("images/*.png")))

    with cluster_of({"num_cpus": 1, "include_dashboard": True}, {"num_cpus": 1}, {"num_cpus": 1}) as cluster:
        first = Submitted(cluster, *job)
        wait_until(lambda: stored() > 50)
        assert "2,000 inputs" in first.log
        before = {line["node"] for line in told(cluster, "ready")}
        os.kill(processes("ray::.*ColorizeActor")[0], signal.SIGKILL)
        wait_until(lambda: stored() > 120)
        cluster.remove_node(sorted(cluster.worker_nodes, key=str)[0], allow_graceful=False)
        joined = cluster.add_node(num_cpus=1)
        wait_until(lambda: joined.node_id in {line["node"] for line in told(cluster, "ready")})
        assert len(before) == 3 and joined.node_id not in before, "one actor on each node, and on the one that joined"
        os.kill(processes(f"jobs.colorize {scans} {output}")[-1], signal.SIGKILL)
        assert "failed" in first.status or first.ended()
        assert 120 < stored() < PHOTOGRAPHS, "too late to be killed"
        log = Submitted(cluster, *job).ended()
        assert f"{PHOTOGRAPHS:,} coloured, 0 failed" in log
        wait_until(lambda: metric(cluster, "ray_colorize_photographs_total") > 0, 60)
        assert metric(cluster, "ray_colorize_bytes_total{") > 0 and metric(cluster, "ray_colorize_seconds_count") > 0
        rows = {line["id"] for line in told(cluster, "photograph")}
    check(output, coloured)
    assert rows == set(pq.read_table(output / "catalog")["id"].to_pylist()), "a line of the log for each photograph"


def test_a_stopped_job_continues(scans, coloured, tmp_path):
    output = tmp_path / "out"
    job = ["-m", "jobs.colorize", str(scans), str(output)]
    with cluster_of({"num_cpus": 2, "include_dashboard": True}) as cluster:
        first = Submitted(cluster, *job)
        wait_until(lambda: len(list(output.glob("images/*.png"))) > 250)  # batches have come, not only pictures
        first.stop()
        assert "stopped; the same command continues" in first.ended()
        done = pq.read_table(output / "catalog").num_rows
        assert 50 < done < PHOTOGRAPHS
        assert f"{done:,} already done" in Submitted(cluster, *job).ended()
    check(output, coloured)


@pytest.mark.parametrize("cpus", [2, 4, 16])
def test_small_nodes_are_enough(scans, tmp_path, cpus):
    with cluster_of({"num_cpus": cpus}) as cluster:
        environment = os.environ | {"RAY_ADDRESS": cluster.address}
        few = command(f"{scans}/0[0-4]*.png", tmp_path / "out")  # enough for the last one to begin
        subprocess.run(few, env=environment, check=True, timeout=300)
        assert len({line["actor"] for line in told(cluster, "ready")}) == cpus
    assert pq.read_table(tmp_path / "out/catalog").num_rows == 500


def test_actors_share_the_gpus_that_come(scans, tmp_path, monkeypatch):
    """Logical ones. The job waits for the first of them; two actors share each."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with cluster_of({"num_cpus": 0}) as cluster:
        environment = os.environ | {"RAY_ADDRESS": cluster.address}
        slow = command(scans, tmp_path / "out", "--gpus", "0.5", "--actors", "1:4", "--variants", "2")
        job = subprocess.Popen(slow, env=environment, stdout=subprocess.PIPE, text=True)
        assert "2,000 inputs" in job.stdout.readline()
        assert "waiting for machines: 1 process needs 1 core and 0.5 GPUs" in job.stdout.readline()
        cluster.add_node(num_cpus=4, num_gpus=1)
        wait_until(lambda: len(told(cluster, "photograph")) > 30)
        cluster.add_node(num_cpus=4, num_gpus=1)
        assert job.wait(300) == 0
        actors = {line["actor"]: (line["node"], line["gpus"]) for line in told(cluster, "ready")}
    assert Counter(actors.values()).most_common(1)[0][1] <= 2 and len(set(actors.values())) == 2
    assert all(gpus == "0" for _, gpus in actors.values())


def test_more_than_there_is_ends_with_a_sentence(scans, tmp_path):
    with cluster_of({"num_cpus": 1}) as cluster:
        environment = os.environ | {"RAY_ADDRESS": cluster.address}
        asked = {
            "jobs.colorize": [str(scans), str(tmp_path / "out"), "--gpus", "1"],
            "jobs.train": [str(scans), "--storage", str(tmp_path), "--min-chroma", "0", "--gpus", "1", *OPTIONS[2:]],
        }
        for name, options in asked.items():
            line = [sys.executable, "-m", name, *options, "--wait", "2"]
            done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120)
            assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
            assert "1 process needs 1 core and 1 GPUs each, but the largest of the cluster's 1 machines" in done.stderr


def test_a_machine_with_a_folder_of_its_own_by_the_name_of_output(scans, tmp_path):
    """Whoever works there would store photographs where nobody looks for them: the job ends before it does."""
    output = tmp_path / "out"
    output.mkdir()
    with cluster_of({"num_cpus": 0}) as cluster:
        ray = Path(sys.executable).parent / "ray"
        join = f"mount -t tmpfs none {output} && exec {ray} start --address {cluster.address} --num-cpus 1 --block"
        machine = subprocess.Popen(["unshare", "--mount", "sh", "-c", join], start_new_session=True)
        try:
            time.sleep(1)
            if machine.poll() is not None:
                pytest.skip("this user may not mount anything")
            environment = os.environ | {"RAY_ADDRESS": cluster.address}
            job = command(scans, output)
            done = subprocess.run(job, env=environment, capture_output=True, text=True, timeout=300)
        finally:
            os.killpg(machine.pid, signal.SIGTERM)
            machine.wait()
    assert done.returncode == 1 and re.fullmatch("error: the machine .* all machines share.*\n", done.stderr), (
        done.stderr
    )
    assert not list(output.glob("catalog/*")) and not list(output.glob("images/*"))


def test_training_is_submitted_killed_and_submitted_again(photographs, undisturbed, tmp_path):  # noqa: F811
    options = ["--storage", str(tmp_path), "--name", "run", *OPTIONS, "--workers", "2"]
    job = ["-m", "jobs.train", str(photographs), *options]
    with cluster_of({"num_cpus": 1, "include_dashboard": True}, {"num_cpus": 1}, {"num_cpus": 1}) as cluster:
        first = Submitted(cluster, *job)
        wait_until(lambda: newest_step(tmp_path / "run") in (10, 20, 30, 40))
        os.kill(processes(f"jobs.train {photographs}")[-1], signal.SIGKILL)
        first.ended()
        assert not (tmp_path / "run/weights.safetensors").exists(), "too late to be killed"
        assert "weights:" in Submitted(cluster, *job).ended()
    for name in ("step", "loss", "train_loss"):
        assert history(tmp_path / "run", name) == pytest.approx(history(undisturbed, name), rel=1e-3)


def test_training_goes_on_when_a_node_leaves(photographs, undisturbed, tmp_path):  # noqa: F811
    """The workers' node goes; the head, whose every CPU the workers then take, finishes the run."""
    with cluster_of({"num_cpus": 2}) as cluster:
        node = cluster.add_node(num_cpus=3)
        arguments = [str(photographs), "--storage", str(tmp_path), *OPTIONS, "--workers", "1:2"]
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs.train", *arguments, "--name", "left"],
            env=os.environ | {"RAY_ADDRESS": cluster.address},
        )
        wait_until(lambda: newest_step(tmp_path / "left") in (30, 40, 50))
        cluster.remove_node(node, allow_graceful=False)
        assert process.wait(240) == 0
    for name in ("step", "loss", "train_loss"):
        assert history(tmp_path / "left", name) == pytest.approx(history(undisturbed, name), rel=1e-3)
