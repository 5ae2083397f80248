import re
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


def test_it_runs_the_project_s_version_of_ray(cluster):
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)[1]
    assert cluster["docker"]["image"].startswith(f"rayproject/ray:{pinned}-py311")
