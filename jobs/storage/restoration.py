"""The scans of an archive back from its colour photographs alone; see ``colorize_core.recipe``."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal, NamedTuple

import pyarrow.parquet as pq

from colorize_core import formats
from jobs.cli import JobFailed, UsageError
from jobs.machine import granted
from jobs.storage import files, listing, parquet, shards
from jobs.storage.output import Place

Sense = Literal["file", "luma", "other", "failed"]
"""How a scan came back: its file byte for byte; a grey JPEG with its luma coefficients; not, since the photograph is no
JPEG beside a scan's luma; not, since something went wrong."""

LARGE = 32 << 20  # bytes of a photograph of which one at a time is taken apart, since each takes gigabytes
_AHEAD = 4  # photographs for each thread that are under way


class Photograph(NamedTuple):
    """One in colour."""

    name: str
    """Relative to where photographs lie: its scan's path, and a suffix."""
    read: Callable[[], bytes]


class Result(NamedTuple):
    """What became of one."""

    name: str
    """Its scan's path, as far as it is known."""
    sense: Sense
    reason: str = ""
    """Why it failed, and what to do."""


def photographs(output: str) -> Iterator[Photograph]:
    """All in an OUTPUT: in ``images``, ``parquet`` and ``shards``. Raises ``UsageError`` where it has none of them."""
    place = Place(output)
    there = [folder.rpartition("/")[2] for folder in place.folders("")]
    if not {"images", "parquet", "shards"} & {*there}:
        raise UsageError(f"{output} holds no colour photographs: give the OUTPUT of a job of colorize archive")
    if "images" in there:
        for source in listing.list_sources(f"{output}/images"):
            if not files.is_unfinished(source.path):
                yield Photograph(source.path, partial(files.read_bytes, source.uri))
    if "shards" in there:
        for source in listing.list_sources(f"{output}/shards"):
            if not files.is_unfinished(source.path):
                yield from _in_shard(source)
    for path in place.files("parquet"):
        if parquet.is_named_by_us(path):
            yield from _in_parquet(place, path)


def _in_shard(source: listing.Source) -> Iterator[Photograph]:
    """Each as in a folder with the shard's name. Raises ``UsageError`` where the shard is damaged."""
    try:
        with shards.open_shard(source.uri) as opened:
            for portion in opened:
                for one in portion.photographs:
                    if one.data is not None:
                        suffix = "jpg" if formats.begins_like(one.data) == "JPEG" else "png"
                        yield Photograph(f"{source.path}/{one.name}.{suffix}", partial(bytes, one.data))
    except shards.ShardError as error:
        raise UsageError(str(error)) from error


def _in_parquet(place: Place, path: str) -> Iterator[Photograph]:
    with place.fs.open(path, "rb") as opened:
        file = pq.ParquetFile(opened)
        for group in range(file.num_row_groups):
            for image in file.read_row_group(group, ["image"])["image"].to_pylist():
                yield Photograph(files.unprintable(image["path"]), partial(bytes, image["bytes"]))


def restore(output: str, folder: str, dry_run: bool = False) -> Iterator[Result]:
    """Write the scans into ``folder``, under their paths; a result for each as it comes.

    Equal files that are there are left as they are, and so are others, which are failures: nothing is replaced. Raises
    ``JobFailed`` where nothing can be written any more.
    """
    large = threading.Lock()

    def one(photograph: Photograph) -> Result:
        return _restored(photograph, folder, dry_run, large)

    threads = granted.cores()
    with ThreadPoolExecutor(threads) as pool:
        waiting: list = []
        for photograph in photographs(output):
            waiting.append(pool.submit(one, photograph))
            if len(waiting) >= _AHEAD * threads:
                yield waiting.pop(0).result()
        for result in waiting:
            yield result.result()
    if not dry_run:
        files.settle(folder)


def _restored(photograph: Photograph, folder: str, dry_run: bool, large: threading.Lock) -> Result:
    from colorize_core import recipe

    name, _, suffix = photograph.name.rpartition(".")
    shown = files.printable(name)
    if suffix != "jpg":
        return Result(shown, "other")
    if not name or name.startswith("/") or ".." in name.split("/") or "\0" in name:
        return Result(shown, "failed", "its name is none of a scan: see where it comes from")
    try:
        data = photograph.read()
        with large if len(data) > LARGE else contextlib.nullcontext():
            scan, is_file = recipe.restore(data)
    except recipe.NoLuma:
        return Result(shown, "other")
    except recipe.NotRestorable as error:
        return Result(shown, "failed", str(error))
    except OSError as error:
        return Result(shown, "failed", f"it cannot be read ({error}): check permissions and the network")
    except MemoryError:
        return Result(shown, "failed", "there is not enough memory for it: use a larger machine")
    if not dry_run:
        try:
            if not _keep(f"{folder}/{name}", scan):
                return Result(
                    shown, "failed", f"another file is at {folder}/{shown}: move it, or choose another folder"
                )
        except OSError as error:
            if files.is_full(error):
                raise JobFailed(f"{folder} is full ({error}): make room; the same command continues") from error
            return Result(shown, "failed", f"it cannot be written ({error}): check permissions, or use another folder")
    return Result(shown, "file" if is_file else "luma")


def _keep(uri: str, scan: bytes) -> bool:
    """Store a scan where nothing has its name; whether it is there now. Raises ``OSError``."""
    try:
        files.write_bytes(uri, scan, new=True)
    except FileExistsError:
        with contextlib.suppress(files.TooLarge):
            return files.read_bytes(uri, most=len(scan)) == scan
        return False
    return True
