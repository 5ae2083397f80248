"""Colour an archive of black-and-white photographs.

    python -m jobs.colorize PHOTOS OUTPUT
    ray job submit --working-dir . -- python -m jobs.colorize s3://bucket/scans s3://bucket/colour

Writes OUTPUT/images/<path relative to PHOTOS>.png and one row per input into OUTPUT/catalog/*.parquet. The
same command again continues where it stopped. Exit status: 0 all done, 3 done but some inputs have error
rows, 2 wrong usage, 1 the job failed.
"""

import hashlib
import json
import os
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import tyro
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from colorize_core import __version__, color, metrics, photo
from colorize_core.colorizer import Colorizer
from jobs import cluster, sources
from jobs.catalog import SCHEMA, Catalog
from jobs.cluster import UsageError

BATCH = 16  # photographs that an actor reads, colours and writes at a time
CATALOG_SECONDS = 10.0  # rows wait at most this long for their catalogue file: what a kill makes us do again


@dataclass(kw_only=True, slots=True)
class ColorizeConfig:
    """Colour an archive of black-and-white photographs."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SOURCE")]
    """A photograph, a folder (searched recursively) or a glob; local or any fsspec URI."""
    output: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OUTPUT")]
    """Folder or URI for the colour photographs and the catalogue."""
    weights: str = "default"
    """`default`, the name of weights that ship, or the path or URI of a .safetensors file."""
    format: Literal["png"] = "png"
    """Format of the colour photographs."""
    actors: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Processes that colour photographs; by default one per GPU, or one per processor core where there is none."""
    retry_errors: bool = False
    """Try again what failed before; by default only new and changed photographs are coloured."""

    def __post_init__(self):
        if self.actors is not None and self.actors < 1:
            raise UsageError(f"--actors must be at least 1, not {self.actors}")


def main(config: ColorizeConfig) -> int:
    started = time.monotonic()
    output = sources.absolute(config.output)
    files = sources.list_sources(config.source)
    _check_apart(config.source, output)
    colorizer = Colorizer.load(config.weights, "cpu")
    settings = settings_digest({"format": config.format})
    try:
        catalog = Catalog(output)
    except OSError as error:
        raise UsageError(f"{output} cannot be written to ({error}): choose another OUTPUT") from error

    todo = _todo(files, catalog, colorizer.model, settings, config.retry_errors)
    print(f"{len(files):,} inputs, {len(files) - len(todo):,} already done, model {colorizer.model}", flush=True)
    if todo:
        _colorize_all(todo, output, config, colorizer.model, settings, catalog)
    catalog.compact()
    return _summary(files, catalog, output, time.monotonic() - started)


def settings_digest(settings: dict) -> str:
    """Identifies everything but weights and photograph that an output's bytes depend on."""
    text = json.dumps(settings | {"code_version": __version__}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def source_id(path: str) -> str:
    """The catalogue's id of a source: a hash of its path relative to SOURCE."""
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def output_uri(output: str, path: str) -> str:
    """Where a source's colour photograph goes: the suffix is added, so that no two sources collide."""
    return f"{output}/images/{path}.png"


def _check_apart(source: str, output: str) -> None:
    source = sources.absolute(source)
    if _is_within(output, source):
        raise UsageError(f"{output} lies inside {source}: its pictures would become inputs; choose an OUTPUT outside")
    if _is_within(source, f"{output}/images") or _is_within(source, f"{output}/catalog"):
        raise UsageError(f"{source} lies inside what {output} is for: choose another OUTPUT")


def _is_within(path: str, folder: str) -> bool:
    if sources.is_local(path) and sources.is_local(folder):
        path, folder = os.path.realpath(path), os.path.realpath(folder)
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _todo(
    files: list[sources.Source], catalog: Catalog, model: str, settings: str, retry_errors: bool
) -> list[sources.Source]:
    current = catalog.read(["id", "source_version", "model", "settings", "status"])
    done = {
        row["id"]: row["source_version"]
        for row in current.to_pylist()
        if (row["model"], row["settings"]) == (model, settings) and not (retry_errors and row["status"] == "error")
    }
    return [file for file in files if done.get(source_id(file.path)) != file.version]


def _colorize_all(
    todo: list[sources.Source], output: str, config: ColorizeConfig, model: str, settings: str, catalog: Catalog
) -> None:
    """Run the pool of actors over ``todo`` and store their rows as they come."""
    cores = cluster.start()
    import ray

    gpus = int(ray.cluster_resources().get("GPU", 0))
    actors = min(config.actors or gpus or cores, len(todo))
    # As bytes: a file's name need not be valid UTF-8, and Arrow's strings must be.
    columns = {name: [os.fsencode(getattr(file, name)) for file in todo] for name in ("uri", "path", "version")}
    inputs = pa.table(columns)
    # Small blocks near the end of a small archive would leave actors idle; large ones cost little to redo.
    rows_per_block = max(1, min(BATCH, len(todo) // (2 * actors)))
    blocks = [inputs.slice(i, rows_per_block) for i in range(0, len(inputs), rows_per_block)]
    results = ray.data.from_arrow(blocks).map_batches(
        ColorizeActor,
        batch_size=BATCH,
        batch_format="pyarrow",
        fn_constructor_kwargs={
            "weights": config.weights, "output": output, "settings": settings,
            "threads": max(1, cores // actors) if gpus else 1,
        },
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=1,
        num_gpus=min(1, gpus / actors),
        ray_remote_args_fn=lambda: {"max_restarts": 3, "max_task_retries": 3},  # Ray's default is without limit
    )  # fmt: skip
    waiting, stored = [], time.monotonic()
    with _Progress(len(todo)) as progress:
        for rows in results.iter_batches(batch_size=None, batch_format="pyarrow"):
            waiting.append(rows)
            progress.advance(rows["status"].to_pylist())
            if time.monotonic() - stored > CATALOG_SECONDS:
                catalog.append(pa.concat_tables(waiting))
                waiting, stored = [], time.monotonic()
        if waiting:
            catalog.append(pa.concat_tables(waiting))


class ColorizeActor:
    """One worker process: reads, colours and stores batches of photographs, and returns their catalogue rows."""

    def __init__(self, weights: str, output: str, settings: str, threads: int):
        import cv2
        import torch

        self.colorizer = Colorizer.load(weights)
        self.output, self.settings = output, settings
        if self.colorizer.device.type == "cpu":
            torch.set_num_threads(1)  # the pool has a process per core
        cv2.setNumThreads(1)
        self.pool = ThreadPoolExecutor(threads)

    def __call__(self, batch: pa.Table) -> pa.Table:
        inputs = [{name: os.fsdecode(value) for name, value in row.items()} for row in batch.to_pylist()]
        scans = list(self.pool.map(self._read, inputs))
        readable = [scan for scan in scans if "photo" in scan]
        chroma = self.colorizer.predict([scan["photo"].pixels for scan in readable])
        list(self.pool.map(self._write, readable, chroma))
        return pa.Table.from_pylist([scan["row"] for scan in scans], SCHEMA)

    def _read(self, source: dict) -> dict:
        """The scan's catalogue row so far and, where it could be read, its ``photo``: grey levels and metadata."""
        started = time.monotonic()
        row = {
            "id": source_id(source["path"]),
            "source": sources.printable(source["uri"]),
            "source_version": source["version"],
            "status": "ok",
            "model": self.colorizer.model,
            "settings": self.settings,
        }
        scan = {"row": row, "path": source["path"]}
        try:
            data = sources.read_bytes(source["uri"])
            row["source_sha256"] = hashlib.sha256(data).hexdigest()
            photograph = photo.read(data)
            scan["photo"] = replace(photograph, pixels=photograph.grey)  # lets go of any colour channels
            row["height"], row["width"] = scan["photo"].pixels.shape
            row["bits"] = photograph.bits
        except photo.PhotoError as error:
            stray = isinstance(error, photo.NotAnImageError) and not _has_image_suffix(source["path"])
            self._fail(row, str(error), "skipped" if stray else "error")
        except OSError as error:
            self._fail(row, f"the file cannot be read ({error}): check that it still exists and its permissions")
        except Exception as error:
            self._fail(row, f"reading it failed unexpectedly ({type(error).__name__}: {error}): please report this")
        row["seconds"] = time.monotonic() - started
        return scan

    def _write(self, scan: dict, ab: np.ndarray) -> None:
        """Merge, encode and store one scan that was read, and complete its row."""
        started = time.monotonic()
        row, scanned = scan["row"], scan.pop("photo")
        try:
            rgb = color.merge(scanned.pixels, ab)
            step = max(1, min(rgb.shape[:2]) // 256)
            row["colorfulness"] = metrics.colorfulness(rgb[::step, ::step])
            xmp = photo.provenance_xmp("colorize", f"{__version__} {self.colorizer.model}", row["source_sha256"])
            png = photo.encode_png(rgb, scanned.alpha, scanned.exif, scanned.dpi, xmp)
            uri = output_uri(self.output, scan["path"])
            sources.write_bytes(uri, png)
            row["output"] = sources.printable(uri)
            row["output_sha256"] = hashlib.sha256(png).hexdigest()
        except OSError as error:
            self._fail(row, f"the colour photograph cannot be written ({error}): check space and permissions")
        except Exception as error:
            self._fail(row, f"colouring it failed unexpectedly ({type(error).__name__}: {error}): please report this")
        row["seconds"] += time.monotonic() - started
        row["finished_at"] = datetime.now(UTC)

    @staticmethod
    def _fail(row: dict, reason: str, status: str = "error") -> None:
        row |= {"status": status, "error": reason, "output": None, "finished_at": datetime.now(UTC)}


def _has_image_suffix(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in Image.registered_extensions()


class _Progress:
    """A bar on a terminal, a line every ten seconds in a log. The rate leaves out the start of the actors."""

    def __init__(self, total: int):
        self.total, self.counts = total, Counter()
        self.first: tuple[float, int] | None = None  # when the first results came, and how many
        self.shown = time.monotonic()
        self.bar = None
        if sys.stdout.isatty():
            columns = TextColumn("colouring"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}")
            self.bar = Progress(*columns, console=Console())
            self.task = self.bar.add_task("", total=total, note="starting")

    def __enter__(self):
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *error):
        if self.bar:
            self.bar.stop()

    def advance(self, statuses: list[str]) -> None:
        self.counts.update(statuses)
        done, now = self.counts.total(), time.monotonic()
        note = f"{self.counts['error']:,} failed"
        self.first = self.first or (now, done)
        if done > self.first[1]:
            rate = (done - self.first[1]) / max(now - self.first[0], 1e-9)
            note += f", {rate:.1f}/s, {(self.total - done) / rate:.0f} s left"
        if self.bar:
            self.bar.update(self.task, completed=done, note=note)
        elif now - self.shown >= 10 or done == self.total:
            self.shown = now
            print(f"{done:,}/{self.total:,} done, {note}", flush=True)


def _summary(files: list[sources.Source], catalog: Catalog, output: str, seconds: float) -> int:
    rows = catalog.read(["id", "source", "status", "error"]).to_pylist()
    listed = {source_id(file.path) for file in files}
    rows = [row for row in rows if row["id"] in listed]
    counts = Counter(row["status"] for row in rows)
    unfinished = [row for row in rows if row["status"] != "ok"]
    for row in unfinished[:20]:
        print(f"{row['status']}: {row['source']}: {row['error']}")
    if len(unfinished) > 20:
        print(f"... and {len(unfinished) - 20:,} more in the catalogue")
    print(
        f"{counts['ok']:,} coloured, {counts['error']:,} failed, {counts['skipped']:,} skipped, in {seconds:.0f} s\n"
        f"photographs: {output}/images\ncatalogue:   {catalog.folder}"
    )
    return cluster.SOME_ERRORS if counts["error"] else cluster.OK


if __name__ == "__main__":
    cluster.command_line(main, ColorizeConfig, "jobs.colorize")
