import os
from pathlib import Path

import pytest

from jobs.machine import granted

GB = 1 << 30


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """One with 128 cores, on which this process is in the control groups that it is given."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(128)))
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 512 * GB // 4096, "SC_PAGE_SIZE": 4096}.get)
    monkeypatch.setattr(granted, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(granted, "OWN", tmp_path / "own")

    def grant(own: str, files: dict[str, str]) -> tuple[int, int]:
        Path(granted.OWN).write_text(own)
        for name, content in files.items():
            path = granted.CGROUPS / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return granted.cores(), granted.memory()

    return grant


def test_without_limits_there_is_all_that_there_is(machine):
    assert machine("0::/\n", {}) == (128, 512 * GB)
    assert machine("0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"}) == (128, 512 * GB)


def test_an_affinity(machine, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {17})
    assert machine("0::/\n", {})[0] == 1


def test_a_container_sees_its_own_group_as_the_root(machine):
    assert machine("0::/\n", {"cpu.max": "150000 100000\n", "memory.max": f"{4 * GB}\n"}) == (2, 4 * GB)


def test_a_limit_lies_anywhere_on_the_way_to_the_process(machine):
    """As Slurm nests them: the step's limits are none, those of the job count."""
    job = "system.slice/slurmstepd.scope/job_7"
    limits = {f"{job}/cpu.max": "100000 100000\n", f"{job}/memory.max": f"{8 * GB}\n"}
    step = {f"{job}/step_0/cpu.max": "max 100000\n", f"{job}/step_0/memory.max": "max\n"}
    assert machine(f"0::/{job}/step_0\n", limits | step) == (1, 8 * GB)


def test_version_1_has_a_tree_for_each_resource(machine):
    own = "4:memory:/kubepods/pod1\n3:cpuset:/\n2:cpu,cpuacct:/kubepods/pod1\n"
    pod = "cpu,cpuacct/kubepods/pod1"
    limits = {f"{pod}/cpu.cfs_quota_us": "400000\n", f"{pod}/cpu.cfs_period_us": "100000\n"}
    memory = {"memory/kubepods/pod1/memory.limit_in_bytes": f"{16 * GB}\n"}
    assert machine(own, limits | memory) == (4, 16 * GB)
    unlimited = {f"{pod}/cpu.cfs_quota_us": "-1\n", "memory/kubepods/pod1/memory.limit_in_bytes": f"{1 << 62}\n"}
    assert machine(own, unlimited) == (128, 512 * GB)


def test_this_machine():
    assert 1 <= granted.cores() <= os.cpu_count()
    assert 1 << 28 < granted.memory() < 1 << 46
