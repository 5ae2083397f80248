"""What people have made of photographs in colour, under their names in OUTPUT, is kept when these are coloured again;
what is no longer of the photograph that it is called after does not stay beside it.

On this machine every file is read before another one takes its place. Of an object store's those alone are that were
stored after the catalogue's row was complete: one listing tells it of a batch's neighbours.
"""

import contextlib
import hashlib
import os
from collections.abc import Collection
from datetime import datetime

from jobs.coloring.job import SUFFIX
from jobs.storage import walk
from jobs.storage.files import is_local
from jobs.storage.output import VARIANTS, Place


class HandWork:
    """Of a worker's batch."""

    def __init__(self, output: str):
        self.place, self._is_local = Place(output), is_local(output)
        self._later: set[str] = set()
        self._folders: list[str] | None = None

    def look(self, finished: dict[str, datetime]) -> None:
        """Before a batch: names in ``images`` of photographs that have a row, and when that was complete."""
        if not self._is_local:
            paths = {f"{self.place.root}/images/{name}": at for name, at in finished.items()}
            try:
                there = walk.modified(self.place.fs, paths)
            except OSError:  # who may store need not be allowed to list
                there = dict.fromkeys(paths)
            self._later = {path for path, at in there.items() if at is None or at > paths[path]}

    def keep(self, name: str, digests: Collection[str | None]) -> None:
        """Put the file of this name aside, if there is one, and its SHA-256 is none of these. Raises ``OSError``."""
        path = f"{self.place.root}/images/{name}"
        if path in self._later or (self._is_local and os.path.isfile(path)):
            with contextlib.suppress(FileNotFoundError):
                with open(path, "rb") if self._is_local else self.place.fs.open(path, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                if digest not in digests:
                    self.place.keep_aside(path)

    def clear(self, path: str, made: Collection[str]) -> None:
        """Put variants and maps aside that were made of what the file of this path, relative to SOURCE, held before:
        all but those that have just been ``made``, as URIs. Raises ``OSError``."""
        if self._folders is None:
            folders = ("confidence", *VARIANTS)
            self._folders = [folder for folder in folders if self.place.fs.exists(f"{self.place.root}/{folder}")]
        for folder in self._folders:
            for suffix in SUFFIX.values():
                name = f"{folder}/{path}.{suffix}"
                if f"{self.place.uri}/{name}" not in made and self.place.fs.exists(f"{self.place.root}/{name}"):
                    self.place.put_aside(f"{self.place.root}/{name}")
