"""How the colouring job's rate grows with the nodes of a cluster, as far as one machine can show it.

    python -m benchmarks.nodes [--photographs 400]

Clusters of one, two and three nodes with one logical core each are simulated by processes on this machine; beyond the
cores that it really has, nodes share them, so that the last rows show what more nodes cost, not what they bring.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cyclopts
from ray.cluster_utils import Cluster
from rich.console import Console
from rich.table import Table

from benchmarks.speed import CORES, make_scans
from jobs import cli
from jobs.cli import OPTIONS


@dataclass(kw_only=True)
class NodesConfig:
    """Colour photographs on clusters of several sizes."""

    photographs: int = 400
    """Of 500 x 375, for each node."""
    nodes: Annotated[tuple[int, ...], cli.SEVERAL] = (1, 2, 3)


def main(config: Annotated[NodesConfig, OPTIONS] = NodesConfig()) -> None:  # noqa: B008
    table = Table(title=f"{CORES} cores in truth", title_justify="left")
    for heading in ("nodes", "photographs/s", "to one node"):
        table.add_column(heading, justify="right")
    first = None
    for nodes in config.nodes:
        rate = _rate(nodes, nodes * config.photographs)
        first = first or rate
        table.add_row(str(nodes), f"{rate:.1f}", f"{rate / first:.2f}")
    Console(width=100).print(table)


def _rate(nodes: int, photographs: int) -> float:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1)
        with tempfile.TemporaryDirectory() as folder:
            scans, output = Path(folder, "scans"), Path(folder, "out")
            make_scans(scans, 500, 375, photographs)
            command = [sys.executable, "-m", "jobs.colorize", str(scans), str(output), "--json"]
            environment = os.environ | {"RAY_ADDRESS": cluster.address}
            job = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
        return json.loads(job.stdout)["photographs_per_second"]
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    cyclopts.run(main)
