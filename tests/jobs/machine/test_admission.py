import multiprocessing
import os
import queue
import signal

import pytest

from jobs.machine import admission, granted
from jobs.machine.admission import UNIT, Admission

FORK = multiprocessing.get_context("fork")


def hold(path, size, log, leave):
    """Says when it is in, and stays until it is allowed to leave."""
    with Admission(4 * UNIT, path).reserve(size):
        log.put("in")
        leave.acquire()
        log.put("out")


def start(*arguments) -> multiprocessing.Process:
    process = FORK.Process(target=hold, args=arguments)
    process.start()
    return process


@pytest.mark.parametrize("size, at_once", [(2 * UNIT, 2), (100 * UNIT, 1)])
def test_processes_share_the_room_of_a_node(tmp_path, size, at_once):
    """What is larger than the whole room goes alone."""
    log, leave = FORK.Queue(), FORK.Semaphore(0)
    processes = [start(str(tmp_path / "room"), size, log, leave) for _ in range(5)]
    for _ in range(at_once):
        assert log.get(timeout=60) == "in"
    for _ in range(5 - at_once):
        with pytest.raises(queue.Empty):
            log.get(timeout=0.2)  # the others wait
        leave.release()
        assert {log.get(timeout=60), log.get(timeout=60)} == {"out", "in"}
    for _ in range(at_once):
        leave.release()
        assert log.get(timeout=60) == "out"
    for process in processes:
        process.join()


def test_the_room_of_a_killed_process_is_free_again(tmp_path):
    path, log, leave = str(tmp_path / "room"), FORK.Queue(), FORK.Semaphore(0)
    holder = start(path, 4 * UNIT, log, leave)
    assert log.get(timeout=60) == "in"
    waiting = start(path, 4 * UNIT, log, leave)
    with pytest.raises(queue.Empty):
        log.get(timeout=0.2)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert log.get(timeout=60) == "in"
    leave.release()
    waiting.join()


def test_room_is_not_had_twice(tmp_path):
    """The kernel would let a process lock again what it has locked, and unlock both at once."""
    room = Admission(4 * UNIT, str(tmp_path / "room"))
    with room.reserve(UNIT), pytest.raises(RuntimeError, match="already"), room.reserve(UNIT):
        pass
    with room.reserve(UNIT):
        assert room.held == 1


def test_files_and_pixels_have_half_of_the_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(admission.scratch, "folder", lambda: str(tmp_path))
    monkeypatch.setattr(granted, "memory", lambda: 64 * UNIT)
    with admission.for_files().reserve(UNIT), admission.for_pixels().reserve(UNIT):
        assert (admission.for_files().units, admission.for_pixels().units) == (8, 24)
