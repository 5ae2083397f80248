"""Room in a node's memory, shared by every process on it: so many large scans at once, and no more."""

import contextlib
import errno
import fcntl
import itertools
import os
import time
from collections.abc import Iterator

from jobs.machine import granted, scratch

UNIT = 64 << 20  # bytes


def for_files() -> "Admission":
    """Room for what is read. Who holds it may wait for room for pixels; nobody does the reverse, or two processes could
    wait for each other.
    """
    return Admission(granted.memory() // 8, "files")


def for_pixels() -> "Admission":
    """Room for what is decoded. With that for files it is half of the memory: the other half is the processes' own."""
    return Admission(granted.memory() * 3 // 8, "pixels")


class Admission:
    """Reservations of a node's memory, kept as locks on ranges of one file.

    The kernel gives up a process's locks when it dies, however it dies. Every process of a user that gives the same
    ``name`` shares the same room. The file stays empty.
    """

    def __init__(self, budget: int, name: str):
        """``budget`` is the room of the whole node, in bytes."""
        self.units = max(1, budget // UNIT)
        self.held = 0
        """Units that this process holds."""
        self._file = open(os.path.join(scratch.folder(), name), "ab")  # noqa: SIM115, closing would give up the locks

    @contextlib.contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Wait for room for ``size`` bytes and hold it. What is larger than the whole room waits for all of it.

        Not again before it is given back: the kernel would let a process have its own room twice.
        """
        if self.held:
            raise RuntimeError("this process holds room already")
        wanted = min(self.units, -(-size // UNIT))
        held: list[int] = []
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, 0)  # a door: whoever collects room does so alone, in turn
        try:
            for unit in itertools.cycle(range(1, self.units + 1)):
                if len(held) == wanted:
                    break
                if unit not in held and self._take(unit):  # a process may lock a range twice
                    held.append(unit)
                elif unit == self.units:
                    time.sleep(0.02)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, 0)
        self.held = wanted
        try:
            yield
        finally:
            self.held = 0
            for unit in held:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, unit)

    def _take(self, unit: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, unit)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        return True
