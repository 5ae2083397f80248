"""Which photographs a worker process died with: a file may crash or hang a decoder, and must not do so for ever."""

import contextlib
import faulthandler
import fcntl
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from typing import BinaryIO

from jobs.machine import scratch

WORKING = "working-"
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
    for each attempt that has not ended.

    While photographs are worked on, a single file names all of them, and is locked by who made it. What its process
    leaves, however it ends, is unlocked: then each photograph in it has had an attempt that has not ended.
    """

    def __init__(self, run: str):
        self.prefix = os.path.join(scratch.folder(), f"{run}-")
        self._counts: dict[str, int] = {}
        self.find()

    def find(self) -> None:
        """Count the attempts of processes that have ended since, and take note of what others have counted."""
        self._counts = {}
        folder, name = os.path.split(self.prefix)
        left = []
        for entry in os.scandir(folder):
            with contextlib.suppress(FileNotFoundError):
                if entry.name.startswith(name + WORKING):
                    left += _left(entry.path)
                elif entry.name.startswith(name):
                    self._counts[entry.name.removeprefix(name)] = entry.stat().st_size
        for id in left:
            self.add(id)

    def count(self, id: str) -> int:
        return self._counts.get(id, 0)

    def add(self, id: str) -> None:
        with open(self.prefix + id, "ab") as file:
            file.write(b".")
            self._counts[id] = file.tell()

    @contextlib.contextmanager
    def counted(self, ids: list[str]) -> Iterator[None]:
        """Around an attempt with these."""
        name = uuid.uuid4().hex
        begun, path = f"{self.prefix}{name}", f"{self.prefix}{WORKING}{name}"
        with open(begun, "xb") as file:
            _lock(file)
            file.write("\n".join(ids).encode())
            file.flush()
            os.rename(begun, path)  # only now, or others might take it for what a process has left
            try:
                yield
            except Exception:  # which it outlives
                os.remove(path)
                raise
            os.remove(path)
        for id in ids:
            self.forget(id)

    def forget(self, id: str) -> None:
        if self._counts.pop(id, 0):
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.prefix + id)


def _left(path: str) -> list[str]:
    """What a process was at when it ended; nothing where it lives, or another one asks as well."""
    with open(path, "rb") as file:
        if not _lock(file) or not os.path.exists(path):
            return []
        os.remove(path)
        return file.read().decode().split()


def _lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
