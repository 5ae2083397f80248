"""What of this machine this process may use: what was granted, by an affinity or a container, not what is there."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def cores() -> int:
    """Processor cores: those that this process may run on, and as many as a container's share amounts to."""
    granted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _groups("cpu"):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # "max" where there is no limit
            quota, period = (int(text) for text in (group / "cpu.max").read_text().split())
            granted = min(granted, math.ceil(quota / period))
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = (int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
            if quota > 0:  # -1 where there is no limit
                granted = min(granted, math.ceil(quota / period))
    return max(1, granted)


def memory() -> int:
    """Bytes of memory."""
    granted = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for group in _groups("memory"):
        for limit in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
                granted = min(granted, int((group / limit).read_text()))
    return granted


def _groups(controller: str) -> Iterator[Path]:
    """The control groups around this process, each within the next: what any of them limits is limited."""
    with contextlib.suppress(OSError):
        for line in OWN.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            root = CGROUPS / controllers if controllers else CGROUPS  # version 1 has a tree for each; version 2 none
            own = Path(path.lstrip("/"))
            for inner in (own, *own.parents):  # a container may see its own group as the root
                yield root / inner
                if controllers:
                    yield CGROUPS / controller / inner  # where the tree holds several, this is a link to it
