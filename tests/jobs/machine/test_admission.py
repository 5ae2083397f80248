import multiprocessing
import os
import signal
import time

import pytest

from jobs.machine import granted
from jobs.machine.admission import UNIT, Admission

FORK = multiprocessing.get_context("fork")


def hold(path, size, seconds, log):
    with Admission(4 * UNIT, path).reserve(size):
        log.put(("in", time.monotonic()))
        time.sleep(seconds)
        log.put(("out", time.monotonic()))


def most_at_once(log, count: int) -> int:
    now = most = 0
    for event, _ in sorted((log.get(timeout=20) for _ in range(2 * count)), key=lambda item: item[1]):
        now += 1 if event == "in" else -1
        most = max(most, now)
    return most


def start(path, size, seconds, log):
    process = FORK.Process(target=hold, args=(path, size, seconds, log))
    process.start()
    return process


@pytest.mark.parametrize("size, at_once", [(2 * UNIT, 2), (100 * UNIT, 1)])
def test_processes_share_the_room_of_a_node(tmp_path, size, at_once):
    """What is larger than the whole room goes alone."""
    path, log = str(tmp_path / "room"), FORK.Queue()
    processes = [start(path, size, 0.3, log) for _ in range(5)]
    assert most_at_once(log, 5) == at_once
    for process in processes:
        process.join()


def test_the_room_of_a_killed_process_is_free_again(tmp_path):
    path, log = str(tmp_path / "room"), FORK.Queue()
    process = start(path, 4 * UNIT, 60, log)
    assert log.get(timeout=20)[0] == "in"
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    started = time.monotonic()
    with Admission(4 * UNIT, path).reserve(4 * UNIT):
        assert time.monotonic() - started < 5


def test_node_memory_is_that_of_this_machine():
    assert 1 << 28 < granted.memory() < 1 << 46
