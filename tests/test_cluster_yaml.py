"""What clusters are described by: cluster.yaml, the image that its nodes run, and a job of KubeRay's."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def cluster() -> dict:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def test_ray_accepts_it(cluster):
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(cluster))
    cluster["available_node_typos"] = {}
    with pytest.raises(Exception, match="available_node_typos"):
        validate_config(prepare_config(cluster))
    del cluster["available_node_typos"]


def test_the_head_runs_no_work_and_workers_come_and_go(cluster):
    nodes = cluster["available_node_types"]
    assert nodes[cluster["head_node_type"]]["resources"]["CPU"] == 0
    assert "InstanceMarketOptions" not in nodes["head"]["node_config"]
    worker = nodes["gpu_worker"]
    assert worker["min_workers"] == 0 and worker["resources"]["GPU"] >= 1
    assert worker["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"


def test_only_the_head_itself_reaches_the_job_api(cluster):
    """Whoever does may run anything on the cluster; `ray dashboard` makes a tunnel."""
    (start,) = [line for line in cluster["head_start_ray_commands"] if "ray start" in line]
    assert re.findall(r"--dashboard-host=(\S+)", start) == ["127.0.0.1"]


def test_nodes_install_nothing(cluster):
    """They run the image, which has the pinned versions."""
    assert cluster["docker"]["image"] == "REGISTRY/colorize:gpu"
    assert not [key for key in cluster if key.endswith("setup_commands") and cluster[key]]


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    """Its instructions, each with what it says."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text().replace("\\\n", ""), flags=re.M)
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line]


def test_the_image_has_what_the_project_pins_and_copies_what_there_is(dockerfile):
    stages = [said.split(" AS ") for what, said in dockerfile if what == "FROM"]
    assert [name for _, name in stages] == ["base", "gpu", "cpu"] and [image for image, _ in stages][1:] == ["base"] * 2
    needed = re.search(r'^requires-python = ">=(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)[1]
    assert stages[0][0].startswith(f"python:{needed}-slim")
    for said in [said for what, said in dockerfile if what == "RUN" and "pip install" in said]:
        assert "-c constraints.txt" in said and "--no-cache-dir" in said
    copied = [path for what, said in dockerfile if what == "COPY" for path in said.split()[:-1]]
    admitted = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {*copied} == admitted and all((ROOT / path).exists() for path in copied)


def test_the_image_s_programs_do_not_run_as_root(dockerfile):
    last, stage = {}, ""
    for what, said in dockerfile:
        stage = said.split(" AS ")[1] if what == "FROM" else stage
        last[stage] = said if what == "USER" else last.get(stage)
    assert last["cpu"] == last["gpu"] == "ray"


@pytest.fixture(scope="module")
def rayjob() -> dict:
    return yaml.safe_load((ROOT / "kubernetes/rayjob.yaml").read_text())


def test_kubernetes_runs_one_image_with_the_project_s_version_of_ray(rayjob):
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)[1]
    spec = rayjob["spec"]
    assert (rayjob["apiVersion"], rayjob["kind"]) == ("ray.io/v1", "RayJob")
    assert spec["rayClusterSpec"]["rayVersion"] == pinned
    assert {container["image"] for container in _containers(spec)} == {"REGISTRY/colorize:cpu"}
    for container in _containers(spec):
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, "what has none is put anywhere"
        assert container["resources"]["limits"]["memory"]


def _containers(spec: dict) -> list[dict]:
    cluster = spec["rayClusterSpec"]
    groups = [spec["submitterPodTemplate"], cluster["headGroupSpec"]["template"]]
    groups += [group["template"] for group in cluster["workerGroupSpecs"]]
    return [container for group in groups for container in group["spec"]["containers"]]


def test_on_kubernetes_too_the_head_runs_no_work_and_workers_come_and_go(rayjob):
    cluster = rayjob["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    assert cluster["enableInTreeAutoscaling"] and cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert workers["minReplicas"] == 0 < workers["maxReplicas"]
    assert rayjob["spec"]["shutdownAfterJobFinishes"]


@pytest.mark.parametrize("status, tried_again", [(0, False), (3, False), (1, True), (2, True)])
def test_kubernetes_tries_again_what_failed_and_not_what_is_done_with_some_errors(rayjob, status, tried_again):
    command, _, rest = rayjob["spec"]["entrypoint"].partition(" || ")
    assert command.startswith("python -m jobs.colorize s3://")
    done = subprocess.run(f"(exit {status}) || {rest}", shell=True)
    assert (done.returncode != 0) == tried_again
