"""A cluster of several nodes, simulated by processes on this machine: `make cluster-test`, not part of `make test`."""

import os
import subprocess
import sys
import time

import pytest

from tests.test_train import OPTIONS, history, newest_step, photographs, undisturbed  # noqa: F401, fixtures

pytestmark = pytest.mark.cluster


def test_training_goes_on_when_a_node_leaves(photographs, undisturbed, tmp_path):  # noqa: F811
    """The workers' node goes; the head, whose every CPU the workers then take, finishes the run."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        node = cluster.add_node(num_cpus=3)
        arguments = [str(photographs), "--storage", str(tmp_path), *OPTIONS, "--workers", "1:2"]
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs.train", *arguments, "--name", "left"],
            env=os.environ | {"RAY_ADDRESS": cluster.address},
        )
        deadline = time.monotonic() + 180
        while newest_step(tmp_path / "left") not in (30, 40, 50):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        cluster.remove_node(node, allow_graceful=False)
        assert process.wait(240) == 0
    finally:
        cluster.shutdown()
    for name in ("step", "loss", "train_loss"):
        assert history(tmp_path / "left", name) == pytest.approx(history(undisturbed, name), rel=1e-3)
