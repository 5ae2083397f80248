"""The figures that take under a minute each on two idle cores, each under its command, its date and its machine.

    python -m benchmarks.figures [--photographs demo-out/originals]

Those of quality are of the photographs given, by default the few that the demo makes; the pages in docs/ say for which
photographs theirs are. Figures of speed depend on what else the machine does. What takes longer has its own command,
which docs/performance.md and docs/training.md name.
"""

import os
import platform
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import cyclopts

from jobs import cli
from tests import sample_archive

DEMO = "demo-out/originals"
COMMANDS = (
    "benchmarks.exactness",
    "benchmarks.metadata",
    "benchmarks.triage PHOTOGRAPHS --photographs 200",
    "benchmarks.edges PHOTOGRAPHS",
    "jobs.evaluate PHOTOGRAPHS --weights default resnet18 --vividness 0 1 --variants 3",
    "benchmarks.cost",
    "benchmarks.resume_cost --inputs 100000",
    "benchmarks.simulation --photographs 2000",
)


@dataclass(kw_only=True)
class FiguresConfig:
    """Print figures, each under the command that gives it."""

    photographs: str = DEMO
    """Colour photographs: a folder, file or glob; at most a few hundred, to stay within a minute."""


def main(config: Annotated[FiguresConfig, cli.OPTIONS] = FiguresConfig()) -> int:  # noqa: B008
    if config.photographs == DEMO and not Path(DEMO).is_dir():
        sample_archive.write(Path(DEMO).parent)
    failed = []
    for command in COMMANDS:
        words = [config.photographs if word == "PHOTOGRAPHS" else word for word in command.split()]
        print(f"\n## python -m {shlex.join(words)}\n{datetime.now(UTC):%Y-%m-%d}, {machine()}\n", flush=True)
        started = time.monotonic()
        if subprocess.run([sys.executable, "-m", *words]).returncode:
            failed.append(words[0])
        print(f"({time.monotonic() - started:.0f} s)", flush=True)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return cli.FAILED if failed else cli.OK


def machine() -> str:
    """What a figure of speed depends on, in a few words."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    about = dict(map(str.strip, line.split(":", 1)) for line in lines if ":" in line)
    model = about.get("model name") or platform.processor() or platform.machine()
    bf16 = "with" if {"avx512_bf16", "amx_bf16"} & {*about.get("flags", "").split()} else "without"
    gpu = ", a GPU" if Path("/dev/nvidia0").exists() else ""
    return f"{os.cpu_count()} cores of {model} {bf16} bfloat16{gpu}"


if __name__ == "__main__":
    sys.exit(cyclopts.run(main))
