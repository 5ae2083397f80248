"""What becomes of a worker process that a decoder crashes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.coloring.deaths import Deaths
from jobs.machine import scratch

DEAF = """
import ctypes, os, signal
handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: None)
ctypes.CDLL(None).signal(signal.SIGSEGV, handler)
{more}
os.kill(os.getpid(), signal.SIGSEGV)
"""


def test_a_fault_ends_the_process_whatever_handles_it_before():
    command = [sys.executable, "-c", DEAF.format(more="from jobs.coloring import deaths; deaths.die_at_faults()")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == -signal.SIGSEGV and "Current thread" in ended.stderr

    survivor = subprocess.run([sys.executable, "-c", DEAF.format(more="")], capture_output=True, timeout=60)
    assert survivor.returncode == 0, "a handler that another library has set would have kept it alive"


def test_an_attempt_counts_once_its_process_has_ended():
    """However it ends; while it lives, what it works on is nobody's death."""
    run = f"deaths-{os.getpid()}"
    code = f"""
import pytest

from jobs.coloring.deaths import Deaths
with Deaths({run!r}).counted(["a", "b"]):
    print("working", flush=True)
    input()
"""
    for attempt in range(1, 3):
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"working\n"
        assert Deaths(run).count("a") == attempt - 1
        process.kill()
        process.communicate()
        assert [Deaths(run).count(id) for id in ("a", "b", "c")] == [attempt, attempt, 0]
    deaths = Deaths(run)
    with deaths.counted(["a"]):
        pass
    assert (deaths.count("a"), Deaths(run).count("b")) == (0, 2), "what went well is forgotten"
    deaths.forget("b")
    assert not list(Path(scratch.folder()).glob(f"{run}-*"))


def test_an_attempt_that_fails_without_its_process_is_nobodys_death():
    run = f"deaths-{os.getpid()}"
    deaths = Deaths(run)
    with pytest.raises(ZeroDivisionError), deaths.counted(["a"]):
        raise ZeroDivisionError
    assert Deaths(run).count("a") == 0 and not list(Path(scratch.folder()).glob(f"{run}-*"))
