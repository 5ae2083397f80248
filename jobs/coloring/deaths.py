"""Which photographs a worker process died with: a file may crash or hang a decoder, and must not do so for ever."""

import contextlib
import faulthandler
import os
import signal
import sys
from collections.abc import Iterator

from jobs.machine import scratch

FAULTS = signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL


def die_at_faults() -> None:
    """Let this process end, with a trace of what its threads did, where a decoder has it do what the kernel forbids.

    Ray's own handler of such faults (Abseil's) may meet one itself, for ever: a process that should be gone keeps a
    core busy, and its memory grows.
    """
    for fault in FAULTS:
        with contextlib.suppress(ValueError):  # a thread cannot say so; Ray makes actors in the main one
            signal.signal(fault, signal.SIG_DFL)
    faulthandler.enable(sys.__stderr__ or sys.stderr)  # now, since it hands a fault on to the handler before it


class Deaths:
    """How often a process on this node died while it worked on a photograph, from its first byte on: a file with a byte
    for each attempt that has not ended. After a restart of the actor that is what its last process left."""

    def __init__(self, run: str):
        self.prefix = os.path.join(scratch.folder(), f"{run}-")

    def count(self, id: str) -> int:
        try:
            return os.path.getsize(self.prefix + id)
        except FileNotFoundError:
            return 0

    def add(self, id: str) -> None:
        with open(self.prefix + id, "ab") as file:
            file.write(b".")

    @contextlib.contextmanager
    def counted(self, ids: list[str]) -> Iterator[None]:
        for id in ids:
            self.add(id)
        yield
        for id in ids:
            self.forget(id)

    def forget(self, id: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.prefix + id)
