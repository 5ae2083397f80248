"""A place that a job writes to, an archive's OUTPUT or a training run's folder: claimed before it is written, by one
job at a time, or in parts by one each; and the only code of the project that deletes.

``colorize.json`` says what a place is and of which SOURCE; it stays. ``colorize.lease`` says which job works there
now, ``colorize.lease.3of16`` which works on that part of it; it is renewed every few seconds and removed in the end. A
job that finds another one's lease, of a part that overlaps its own, goes by whether that still changes, or, on the same
machine, by whether its process still lives: no two machines' clocks are compared.
"""

import contextlib
import hashlib
import itertools
import json
import os
import re
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple
from unicodedata import normalize

from colorize_core.weights_file import MAX_VARIANTS
from jobs.cli import UsageError
from jobs.storage.files import absolute, file_system, is_local, is_unfinished, located, unprintable, write_bytes
from jobs.storage.parts import WHOLE, Part

MARKER, LEASE, ASIDE = "colorize.json", "colorize.lease", "aside"
BEAT = 5.0  # seconds between two renewals of a lease
_LEASES = re.compile(rf"/{re.escape(LEASE)}(?:\.(\d+)of(\d+))?$")
DEAD = 4 * BEAT  # seconds after which a lease that has not changed is that of a job which has ended

Kind = Literal["archive", "run"]
FOLDERS: dict[Kind, tuple[str, ...]] = {
    "archive": ("images", "variants", "confidence", "parquet", "shards", "catalog", "settings", "review", "iiif"),
    "run": ("",),
}
"""What a job writes of a place, beside the marker and the lease; "" where all of it is the job's."""
VARIANTS = tuple(f"variants/{number}" for number in range(2, MAX_VARIANTS + 1))
WHAT: dict[Kind, str] = {"archive": "an archive's colours", "run": "a training run"}


class Place:
    """Where a job's results are, a folder or an URI."""

    def __init__(self, uri: str):
        self.uri = uri
        self.fs, self.root = file_system(uri)

    @property
    def marker(self) -> dict | None:
        """What ``claim`` has written of this place, or None where it is not ours."""
        try:
            said = json.loads(self.fs.cat_file(f"{self.root}/{MARKER}"))
            if not isinstance(said, dict) or said.get("kind") not in FOLDERS or "source" not in said:
                raise ValueError("it does not say what of")
            return said
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise UsageError(
                f"{self.uri}/{MARKER} is damaged ({error}): restore it, or choose another place"
            ) from error

    def check(self, kind: Kind, source: str, moved: bool = False, adopted: bool = False) -> None:
        """Raise ``UsageError`` where a job over ``source`` must not write here.

        ``moved`` lets the place be of another source, ``adopted`` be without a marker: that of an earlier version.
        """
        if marker := self.marker:
            self._check(marker, kind, source, moved)
        elif not adopted:
            for folder in FOLDERS[kind]:
                path = f"{self.root}/{folder}".rstrip("/")
                self.fs.invalidate_cache(path)
                if self.fs.exists(path) and (not self.fs.isdir(path) or self._holds_anything(path)):
                    if marker := self.marker:  # the job of another part has begun meanwhile
                        return self._check(marker, kind, source, moved)
                    raise UsageError(
                        f"{self.uri}/{folder}".rstrip("/") + " is there already, and was not made by this program: "
                        "choose another place, so that nothing there is replaced"
                    )

    def _check(self, marker: dict, kind: Kind, source: str, moved: bool) -> None:
        if marker["kind"] != kind:
            raise UsageError(f"{self.uri} holds {WHAT[marker['kind']]}, not {WHAT[kind]}: choose another place")
        if absolute(marker["source"]) != source and not moved:
            raise UsageError(
                f"{self.uri} holds the results of {marker['source']}, not of {source}: choose another place, or, "
                "where the photographs have only moved, say so with --moved"
            )

    @contextlib.contextmanager
    def claim(
        self,
        kind: Kind,
        source: str,
        moved: bool = False,
        adopted: bool = False,
        part: Part = WHOLE,
        listed: str | None = None,
    ) -> Iterator["Lease"]:
        """Hold the place for a job over ``source``, or what is ``listed`` there. Raises ``UsageError`` as ``check`` and
        ``hold`` do, and ``OSError`` where nothing can be written.
        """
        self.check(kind, source, moved, adopted)
        self.make()
        with self.hold(part) as lease:
            if part == WHOLE:  # what is unfinished may be that of another part's job, which is at work
                self._sweep()
            self._mark(kind, source, moved, listed)
            yield lease

    def _mark(self, kind: Kind, source: str, moved: bool, listed: str | None) -> None:
        new = {"kind": kind, "created": datetime.now(UTC).isoformat(timespec="seconds")}
        if marker := self.marker:
            self._check(marker, kind, source, moved)  # another job may have begun meanwhile, or come and gone
            if (marker["source"], marker.get("list")) == (source, listed):
                return
        data = json.dumps((marker or new) | {"source": source, "list": listed}, indent=1).encode()
        try:
            write_bytes(f"{self.uri}/{MARKER}", data, new=marker is None)
        except FileExistsError:  # the job of another part was faster
            self.check(kind, source, moved)

    @contextlib.contextmanager
    def hold(self, part: Part = WHOLE) -> Iterator["Lease"]:
        """Be the only job that works on a place of ours, or on a part of it. Raises ``UsageError`` where another one
        does."""
        lease = Lease(self, part)
        lease.take()
        try:
            yield lease
        finally:
            lease.give_up()

    def _holds_anything(self, folder: str) -> bool:
        """Beside the lease of a job that was killed before it could say whose the place is."""
        names = (path.rstrip("/").rpartition("/")[2] for path in self.fs.ls(folder, detail=False))
        return any(not name.startswith(LEASE) for name in names)

    @property
    def folds_names(self) -> bool:
        """Whether a.png and A.png are the same file here, or ü as one character and ü as two."""
        if not is_local(self.uri):
            return False
        there = Path(self.root).absolute()
        while not there.exists():
            there = there.parent
        for prefix, other in ((".colorize-case-", str.upper), (".colorize-\u00fc-", partial(normalize, "NFD"))):
            with contextlib.suppress(OSError), tempfile.NamedTemporaryFile(prefix=prefix, dir=there) as file:
                if Path(file.name).with_name(other(Path(file.name).name)).exists():
                    return True
        return False

    def _sweep(self) -> None:
        """Delete what a kill left of files that are named by their content, and so are never begun again."""
        for folder in ("catalog", "parquet"):
            for path in self.files(folder):
                if is_unfinished(path):
                    self.remove(path, lambda data: True)

    def make(self) -> None:
        """Raises ``OSError``. A bucket is not made, since its name may be mistyped."""
        bucket = self.root.partition("/")[0]
        if bucket and not self.fs.exists(bucket):  # which S3's client also says where it may not ask
            try:
                self.fs.ls(bucket)
            except FileNotFoundError:
                raise FileNotFoundError(f"there is no {bucket}") from None
        if not bucket:
            self.fs.makedirs(self.root, exist_ok=True)

    def path_of(self, output: str) -> str:
        """Of a photograph, as the catalogue names it, what the file system knows it by."""
        return located(unprintable(output))[1]

    def files(self, folder: str) -> list[str]:
        """Of a folder of this place, not of those within; as ``remove`` and the file system know them."""
        return self._entries(folder, "file")

    def folders(self, folder: str) -> list[str]:
        return self._entries(folder, "directory")

    def _entries(self, folder: str, kind: str) -> list[str]:
        path = f"{self.root}/{folder}".rstrip("/")
        self.fs.invalidate_cache(path)
        if not self.fs.exists(path):  # object stores have no empty folders
            return []
        return sorted(entry["name"].rstrip("/") for entry in self.fs.ls(path, detail=True) if entry["type"] == kind)

    def remove(self, path: str, is_ours: Callable[[bytes], bool]) -> bool:
        """Delete a file of this place if its content proves to be ours; whether it was, and is gone."""
        if not path.startswith(self.root.rstrip("/") + "/") or ".." in path.split("/"):
            raise ValueError(f"{path} does not lie in {self.uri}")
        with contextlib.suppress(FileNotFoundError):
            try:
                if not is_ours(self.fs.cat_file(path)):
                    return False
            except ValueError:  # it is not even of the right format
                return False
            self.fs.rm_file(path)
        return True

    def put_aside(self, path: str) -> None:
        """Take a file out of use that is not, or may not be, as it was written, but keep it in the folder ``aside``."""
        self.fs.mv(path, self._aside(path))

    def keep_aside(self, path: str) -> None:
        """The same of a file whose place another one is about to take, until when it stays there."""
        aside = self._aside(path)
        if is_local(self.uri) and not os.path.islink(path):
            with contextlib.suppress(OSError):  # a file system without links
                return os.link(path, aside)  # which has all that is known of the file
        self.fs.copy(path, aside)

    def _aside(self, path: str) -> str:
        """A free name, in a folder that is there."""
        name = path.removeprefix(self.root).strip("/")
        for number in itertools.count(1):
            aside = f"{self.root}/{ASIDE}/{f'{number}/' if number > 1 else ''}{name}"
            with contextlib.suppress(FileExistsError, NotADirectoryError):  # a folder is called as a file of then is
                self.fs.makedirs(aside.rpartition("/")[0], exist_ok=True)
                if not self.fs.exists(aside):
                    return aside
        raise AssertionError("unreachable")

    def count_aside(self) -> int:
        """Files that were put aside."""
        self.fs.invalidate_cache(path := f"{self.root}/{ASIDE}")
        return len(self.fs.find(path))

    def remove_folder(self, path: str, holding: set[str]) -> bool:
        """Delete a folder of this place if it holds files of these names and nothing else; whether it is gone."""
        found = {name.removeprefix(f"{path}/") for name in self.fs.find(path)} if self.fs.exists(path) else set()
        if not found <= holding:
            return False
        for name in self.fs.find(path) if found else []:
            self.remove(name, lambda data: True)
        with contextlib.suppress(OSError):  # an object store has no empty folders
            self.fs.rmdir(path)
        return True


def is_content(sha256: str) -> Callable[[bytes], bool]:
    """A proof for ``Place.remove``: the content that a catalogue row, or a name, has the digest of."""
    return lambda data: hashlib.sha256(data).hexdigest().startswith(sha256)


class Hold(NamedTuple):
    """What proves that a job holds a place."""

    file: str
    """Of the place, which has the token in it."""
    token: str


class Lease:
    """A job's hold of a place, or of a part of it, renewed by a thread until ``give_up``."""

    def __init__(self, place: Place, part: Part = WHOLE):
        self.place, self.part, self.token, self.beats = place, part, uuid.uuid4().hex, 0
        name = LEASE if part == WHOLE else f"{LEASE}.{part.name}"
        self.uri, self.path = f"{place.uri}/{name}", f"{place.root}/{name}"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    @property
    def hold(self) -> Hold:
        return Hold(self.uri.rpartition("/")[2], self.token)

    def take(self) -> None:
        """Raises ``UsageError`` where another job holds the place, or some of the same part."""
        self._see_to_others()
        if not self._create():
            raise UsageError(f"another job has just begun to work on {self.place.uri}: wait for its end, or stop it")
        self._thread.start()
        try:
            self._see_to_others()  # of two jobs of overlapping parts that begin at the same time, one goes on, or none
        except UsageError:
            self.give_up()
            raise

    def _see_to_others(self) -> None:
        """Remove the leases of jobs that have ended."""
        for path in self.place.files(""):
            of = _LEASES.search(path)
            part = Part(int(of[1]), int(of[2])) if of and of[1] else WHOLE
            found = self._read(path) if of and part.overlaps(self.part) else None
            if found is None or found.get("token") == self.token:
                continue
            if self._is_alive(path, found):
                which = self.place.uri if part == WHOLE else f"part {part} of {self.place.uri}"
                raise UsageError(
                    f"another job works on {which} (process {found.get('process')} on {found.get('machine')}): "
                    "wait for its end, or stop it"
                )
            self._remove(path, found)

    def check(self) -> None:
        """Raise ``UsageError`` where another job has taken the place since, as it may where this one was suspended."""
        found = self._read(self.path)
        if not found or found.get("token") != self.token:
            raise UsageError(f"another job has taken {self.place.uri} while this one was held up: it goes on there")

    def give_up(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        with contextlib.suppress(Exception):  # S3's errors are of many kinds; a lease that stays is found dead
            self._remove(self.path, {"token": self.token})

    def _renew(self) -> None:
        while not self._ended.wait(BEAT):
            with contextlib.suppress(Exception):  # the next beat may succeed; ``check`` says when it is too late
                self.check()
                self.beats += 1
                write_bytes(self.uri, self._content())

    def _content(self) -> bytes:
        said = {"token": self.token, "beats": self.beats, "machine": socket.gethostname(), "process": os.getpid()}
        return json.dumps(said | {"born": _born(os.getpid()), "boot": _boot()}).encode()

    def _read(self, path: str) -> dict | None:
        """What a lease says; nothing where it is not whole, as a full disk may leave it."""
        try:
            return json.loads(self.place.fs.cat_file(path))
        except FileNotFoundError:
            return None
        except ValueError:
            return {}

    def _is_alive(self, path: str, found: dict) -> bool:
        if (found.get("machine"), found.get("boot")) == (socket.gethostname(), _boot()):
            return _lives(found["process"]) and _born(found["process"]) == found["born"]
        where = found.get("machine", "another machine")
        print(f"{self.place.uri} is held by a job on {where}; seeing whether that still works", flush=True)
        deadline = time.monotonic() + DEAD
        while time.monotonic() < deadline:
            time.sleep(BEAT / 5)
            if self._read(path) != found:
                return True
        return False

    def _create(self) -> bool:
        """Whether this job was the first."""
        if is_local(self.place.uri):
            written = f"{self.path}.{self.token}"
            Path(written).write_bytes(self._content())
            try:
                os.link(written, self.path)  # fails where there is one, and what it makes is whole
                return True
            except FileExistsError:
                return False
            except OSError:  # a file system without links
                pass
            finally:
                os.remove(written)
        with contextlib.suppress(FileExistsError), self.place.fs.open(self.path, "xb") as file:
            file.write(self._content())
        found = self._read(self.path)
        return found is not None and found.get("token") == self.token

    def _remove(self, path: str, found: dict) -> None:
        def is_the_same(data: bytes) -> bool:
            try:
                return json.loads(data).get("token") == found.get("token")
            except ValueError:
                return not found

        self.place.remove(path, is_the_same)


def _lives(process: int) -> bool:
    with contextlib.suppress(OSError):
        os.kill(process, 0)
        return not Path(f"/proc/{process}/stat").exists() or _stat(process)[0] != "Z"  # killed, but not yet buried
    return False


def _born(process: int) -> str:
    """When a process of this machine started, so that another with its number is not taken for it; empty where the
    kernel does not say.
    """
    with contextlib.suppress(OSError):
        return _stat(process)[19]
    return ""


def _stat(process: int) -> list[str]:
    """What Linux tells of a process, from its state on; see proc(5)."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _boot() -> str:
    """Of the machine, since containers may share names and numbers."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
