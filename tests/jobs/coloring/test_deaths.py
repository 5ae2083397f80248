"""What becomes of a worker process that a decoder crashes."""

import signal
import subprocess
import sys

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
