"""Colour an archive of black-and-white photographs.

    python -m jobs.colorize PHOTOS OUTPUT
    ray job submit --working-dir . -- python -m jobs.colorize s3://bucket/scans s3://bucket/colour

Writes OUTPUT/images/<path relative to PHOTOS>.png, or another --format, and one row per input into
OUTPUT/catalog/*.parquet. The same command again continues where it stopped. Exit status: 0 all done, 3 done but some
inputs have error rows, 2 wrong usage, 1 the job failed.
"""

import hashlib
import json
import sys
import tempfile
import time
import uuid
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tyro

from colorize_core import __version__
from colorize_core.weights_file import WeightsFile
from jobs import cluster, decisions, parquet_output, report, review, sources
from jobs.catalog import Catalog
from jobs.cluster import UsageError
from jobs.colorize_actor import ColorizeActor, Format, Job, source_id

if TYPE_CHECKING:
    import ray.data

BATCH = 64  # photographs that an actor is given at a time, at most: Ray takes tens of milliseconds for each batch
BATCH_BYTES = 24 << 20  # of files in a batch, about, so that its rows come within seconds
PARQUET_BATCH = 256  # photographs where a batch becomes a file
BLOCKS = 8192  # at most about this many batches: each costs the driver some memory
CATALOG_SECONDS = 10.0  # rows wait at most this long for their catalogue file: what a kill makes us do again
ENOUGH_TO_JUDGE = 100  # photographs before --max-error-rate applies
SAMPLE = 5  # photographs that --dry-run colours to estimate the time


@dataclass(kw_only=True, slots=True)
class ColorizeConfig:
    """Colour an archive of black-and-white photographs."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SOURCE")]
    """A photograph, a folder (searched recursively), a glob, or a list (.txt, .csv, .parquet); local or any fsspec
    URI."""
    output: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OUTPUT")]
    """Folder or URI for the colour photographs and the catalogue."""
    weights: str = "default"
    """`default`, the name of weights that ship, or the path or URI of a .safetensors file."""
    format: Format = "png"
    """Format of the colour photographs. `keep`: that of the scan's name, PNG where it is neither JPEG nor TIFF;
    `parquet`: PNG in a column of Parquet files. JPEG has 8 bits and does not keep every pixel's luminance."""
    vividness: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None
    """From 0, the colours that are most likely right, to 1, as colourful as colour photographs are; by default in
    between."""
    variants: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Plausible colourings of each photograph; those beyond the first are written to OUTPUT/variants/2 and so on."""
    confidence_map: bool = False
    """Write into OUTPUT/confidence where each photograph's colours can be trusted: white where they can."""
    if_color: Literal["skip", "recolor"] = "skip"
    """What to do with a photograph that is in colour already."""
    if_tinted: Literal["recolor", "skip"] = "recolor"
    """The same for one in a single hue, such as sepia; it is coloured from its lightness."""
    if_text: Literal["grey", "recolor", "skip"] = "grey"
    """The same for text and line drawings; `grey` passes them through without colour."""
    provenance: bool = True
    """Write into each photograph that its colours are machine-made, by what and from which file."""
    actors: Annotated[str | None, tyro.conf.arg(metavar="N | MIN:MAX")] = None
    """Processes that colour photographs, or a range between which they come and go with the machines of a cluster; by
    default two per GPU, or one per processor core where there is none, and on a cluster more as machines join."""
    gpus: Annotated[float | None, tyro.conf.arg(metavar="SHARE")] = None
    """GPUs of each process, such as 0.5; 0 works on processor cores alone; by default what `--actors` leads to."""
    wait: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = 600.0
    """How long to wait for a cluster to grow until there is room for a single process."""
    timeout: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = 600.0
    """Longest time to decode, colour and store a few photographs or a large one. What takes longer, or crashes its
    process, is tried once more, alone, and then gets an error row."""
    retry_errors: bool = False
    """Try again what failed before; by default only new and changed photographs are coloured."""
    only: Annotated[str | None, tyro.conf.arg(metavar="DECISIONS")] = None
    """Colour again the photographs that this list marks with redo, and no others; the review page exports such lists as
    CSV or JSON. All its decisions are recorded in the catalogue."""
    review: bool = True
    """Write OUTPUT/review/index.html, a page to look at the colours and decide about each photograph."""
    max_error_rate: Annotated[float | None, tyro.conf.arg(metavar="SHARE")] = None
    """Stop, with status 1, once more than this share of at least 100 photographs has failed."""
    dry_run: bool = False
    """Say what would be done, and about how long it would take, and do nothing."""
    config: Annotated[str | None, tyro.conf.arg(metavar="YAML")] = None
    """File with values for these options, by their names; those on the command line supersede them."""
    json: bool = False
    """Print a summary for machines, as one JSON object, on standard output, and all else on standard error."""

    def __post_init__(self):
        cluster.number_range("--actors", self.actors)
        if self.gpus is not None and (self.gpus < 0 or (self.gpus > 1 and self.gpus % 1)):
            raise UsageError(f"--gpus must be a share between 0 and 1, or a whole number, not {self.gpus}")
        if not self.timeout > 0:
            raise UsageError(f"--timeout must be above 0, not {self.timeout}")
        if self.format == "parquet" and (self.variants > 1 or self.confidence_map):
            raise UsageError("--variants and --confidence-map write pictures of their own: choose another --format")
        if self.max_error_rate is not None and not 0 <= self.max_error_rate <= 1:
            raise UsageError(f"--max-error-rate must lie in [0, 1], not {self.max_error_rate}")

    @property
    def policies(self) -> dict:
        return {"color": self.if_color, "tinted": self.if_tinted, "text": self.if_text, "grey": "recolor"}

    @property
    def lasting(self) -> dict:
        """Every setting that an output depends on, but for weights and photograph."""
        look = {"vividness": self.vividness, "variants": self.variants, "confidence_map": self.confidence_map}
        return look | {"format": self.format, "provenance": self.provenance, "policies": self.policies}

    @property
    def job(self) -> Job:
        """What the workers of one start of the job are told."""
        return Job(
            weights=self.weights, output=sources.absolute(self.output), format=self.format,
            settings=settings_digest(self.lasting), provenance=self.provenance, policies=self.policies,
            vividness=self.vividness, variants=self.variants, confidence_map=self.confidence_map,
            timeout=self.timeout, thumbnails=self.review, run=uuid.uuid4().hex[:12],
        )  # fmt: skip


def main(config: ColorizeConfig) -> int:
    started = time.monotonic()
    out = sys.stderr if config.json else sys.stdout
    job = config.job
    output, settings = job.output, job.settings
    files = sources.listing(config.source)
    _check_apart(config.source, files, output)
    files = files.append_column("id", _ids(files["path"]))
    job = replace(job, thumbnails=job.thumbnails and len(files) <= review.MOST)
    decided = _decided(files, config) if config.only else {}
    weights = _checked(WeightsFile.read(config.weights))
    try:
        weights.check(config.vividness, config.variants)
    except ValueError as error:
        raise UsageError(str(error)) from error
    catalog = Catalog(output)
    try:
        if not config.dry_run:
            catalog.create()
            if config.format == "parquet":
                parquet_output.sweep(catalog, output)
    except OSError as error:
        raise UsageError(f"{output} cannot be written to ({error}): choose another OUTPUT") from error

    if config.only:
        if not config.dry_run:
            catalog.decide(decided)
        todo = _marked(files, decided)
        done = "left as they are"
    else:
        todo = _todo(files, catalog, weights.model, settings, config.retry_errors)
        done = "already done"
    print(f"{len(files):,} inputs, {len(files) - len(todo):,} {done}, model {weights.model}", file=out, flush=True)
    if config.dry_run:
        return _dry_run(todo, job, config, out)
    rate = None
    if len(todo):
        kept = {"model": weights.model, "code_version": __version__} | asdict(config)
        sources.write_bytes(f"{output}/settings/{settings}.json", json.dumps(kept, indent=1).encode())
        rate, hopeless = _colorize_all(todo, job, config, catalog, out)
        if hopeless:
            print(f"error: {hopeless}", file=sys.stderr)
            return cluster.FAILED
    if config.format == "parquet":
        parquet_output.sweep(catalog, output)
    try:
        catalog.compact()
    except OSError as error:  # such as a bucket where nothing may be deleted
        print(f"the catalogue keeps superseded rows, its older files cannot be deleted: {error}", file=sys.stderr)
    page = _review(output, out) if config.review else None
    seconds = time.monotonic() - started
    found = report.summary(catalog, files["id"])
    report.print_summary(found, seconds, rate, out)
    place = f"{output}/{'parquet' if config.format == 'parquet' else 'images'}"
    print(f"photographs: {place}\ncatalogue:   {catalog.folder}", file=out)
    if page:
        print(f"review:      {page}", file=out)
    if config.json:
        found |= {"inputs": len(files), "already_done": len(files) - len(todo), "seconds": seconds}
        found |= {"photographs_per_second": rate, "model": weights.model, "settings": settings}
        print(json.dumps(found | {"photographs": place, "catalog": catalog.folder, "review": page}))
    return cluster.SOME_ERRORS if found["status"]["error"] else cluster.OK


def _checked(weights: WeightsFile) -> WeightsFile:
    """Weights that a user brings are loaded once here, so that what is wrong with them is said at once; ours are not,
    since that takes seconds.
    """
    if not weights.ships:
        from colorize_core.colorizer import Colorizer

        Colorizer.from_file(weights, "cpu")
    return weights


def settings_digest(settings: dict) -> str:
    """Identifies everything but weights and photograph that an output's bytes depend on."""
    text = json.dumps(settings | {"code_version": __version__}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _ids(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    """A few at a time, since a million of Python's strings take more memory than all else here."""
    parts = (paths.slice(i, 1 << 16) for i in range(0, len(paths), 1 << 16))
    return pa.chunked_array([[source_id(path) for path in part.to_pylist()] for part in parts], pa.string())


def _check_apart(source: str, files: pa.Table, output: str) -> None:
    """Refuse an OUTPUT whose files would become inputs, or overwrite them."""
    names = ["images/a.png", "images/a.jpg", "images/a.tif", "images/a/a.jpg.png", "catalog/a.parquet"]
    for name in (*names, "confidence/a.png", "variants/2/a.png"):
        if sources.covers(source, f"{output}/{name}"):
            raise UsageError(
                f"{output} lies inside {source}: its pictures would become inputs; choose an OUTPUT outside"
            )
    for folder in ("images", "variants", "confidence", "parquet", "catalog", "settings", "review"):
        inside = pc.starts_with(files["uri"], f"{output}/{folder}/".encode())
        if pc.any(inside).as_py() or sources.covers(f"{output}/{folder}", source):
            raise UsageError(f"{source} lies inside what {output} is for: choose another OUTPUT")


def _todo(files: pa.Table, catalog: Catalog, model: str, settings: str, retry_errors: bool) -> pa.Table:
    """The files that are not done, with a column ``why``."""
    rows = catalog.read(["id", "source_version", "model", "settings", "status"])
    at = pc.index_in(files["id"], value_set=rows["id"])
    row = {name: rows[name].take(at) for name in ("source_version", "model", "settings", "status")}
    why = pc.case_when(
        pc.make_struct(
            pc.is_null(at),
            pc.fill_null(pc.not_equal(row["source_version"], files["version"]), True),
            pc.fill_null(pc.or_(pc.not_equal(row["model"], model), pc.not_equal(row["settings"], settings)), True),
            pc.and_(pc.equal(row["status"], "error"), retry_errors),
        ),
        "new", "changed", "coloured with other weights or settings", "failed before",
    )  # fmt: skip
    files = files.append_column("why", why)
    return files.filter(pc.is_valid(why))


def _decided(files: pa.Table, config: ColorizeConfig) -> dict[str, str]:
    """What --only says, by the photographs' ids."""
    decided = decisions.read(config.only)
    if lost := Counter(decided.values())[decisions.REDO] - len(_marked(files, decided)):
        raise UsageError(
            f"{config.only} asks to redo {lost:,} photographs that {config.source} does not hold: give the SOURCE and "
            "OUTPUT that were reviewed"
        )
    return decided


def _marked(files: pa.Table, decided: dict[str, str]) -> pa.Table:
    """The files that people want done again, with a column ``why``."""
    ids = [id for id, decision in decided.items() if decision == decisions.REDO]
    files = files.filter(pc.is_in(files["id"], value_set=pa.array(ids, pa.string())))
    return files.append_column("why", pa.array(["to be done again"] * len(files), pa.string()))


def _review(output: str, out) -> str | None:
    """The page's address. A job whose photographs are all there does not fail for it."""
    try:
        return review.write(output, out)
    except UsageError as error:
        print(f"no review page: {error}", file=sys.stderr)
    except Exception as error:
        reason = str(error).strip().rpartition("\n")[2]  # of an error in a task, the last line is the cause
        print(
            f"the review page could not be written ({reason}): python -m jobs.review {output} tries again",
            file=sys.stderr,
        )
    return None


def _dry_run(todo: pa.Table, job: Job, config: ColorizeConfig, out) -> int:
    reasons = {pair["values"]: pair["counts"] for pair in pc.value_counts(todo["why"]).to_pylist()}
    size = pc.sum(todo["bytes"]).as_py() or 0
    seconds = _estimate(todo, job) if len(todo) else 0.0
    for row in todo.slice(0, 20).select(["path", "why"]).to_pylist():
        print(f"{row['why']}: {sources.printable(row['path'].decode('utf-8', 'surrogateescape'))}", file=out)
    if len(todo) > 20:
        print(f"... and {len(todo) - 20:,} more", file=out)
    print(
        f"{len(todo):,} to colour ({', '.join(f'{n:,} {why}' for why, n in reasons.items()) or 'none'}), "
        f"{size / 1e6:,.1f} MB; about {report.duration(seconds)} on one core of this machine, judged by "
        f"{min(SAMPLE, len(todo))} of them. Nothing was done.",
        file=out,
    )
    if config.json:
        print(json.dumps({"todo": len(todo), "why": reasons, "bytes": size, "core_seconds": seconds}))
    return cluster.OK


def _estimate(todo: pa.Table, job: Job) -> float:
    """Seconds on one core, from colouring a few photographs into a folder that is thrown away."""
    chosen = [int(i) for i in np.linspace(0, len(todo) - 1, min(SAMPLE, len(todo)))]
    with tempfile.TemporaryDirectory() as folder:
        actor = ColorizeActor(replace(job, output=folder))
        actor(todo.slice(chosen[0], 1))  # to warm up
        started = time.monotonic()
        actor(todo.take(chosen))
    return (time.monotonic() - started) / len(chosen) * len(todo)


def _colorize_all(
    todo: pa.Table, job: Job, config: ColorizeConfig, catalog: Catalog, out
) -> tuple[float | None, str | None]:
    """Run the pool of actors over ``todo`` and store their rows as they come.

    Returns photographs per second, and the reason to stop early where there is one.
    """
    cluster.start()
    machines = cluster.wait_for(1, config.gpus or 0, config.wait, out)
    actors = pool(len(todo), cluster.number_range("--actors", config.actors), config.gpus, machines)
    results = rows_of(todo, job, actors)
    waiting, stored, hopeless = [], time.monotonic(), None
    with report.Report(len(todo), out) as progress:
        try:
            for rows in results.iter_batches(batch_size=None, batch_format="pyarrow"):
                waiting.append(rows)
                progress.advance(rows)
                if hopeless := _hopeless(progress.counts, config, catalog):
                    break
                if time.monotonic() - stored > CATALOG_SECONDS:
                    catalog.append(pa.concat_tables(waiting))
                    waiting, stored = [], time.monotonic()
        finally:  # also where the job is stopped
            if waiting:
                catalog.append(pa.concat_tables(waiting))
    return progress.rate, hopeless


def _hopeless(counts: Counter, config: ColorizeConfig, catalog: Catalog) -> str | None:
    """Why to go no further, where so many have failed."""
    failed, done, most = counts["error"], counts.total(), config.max_error_rate
    if most is None or done < ENOUGH_TO_JUDGE or failed <= most * done:
        return None
    return (
        f"{failed:,} of {done:,} photographs failed, more than --max-error-rate {most} allows: see the reasons in "
        f"{catalog.folder}; the same command with a higher rate continues"
    )


class Pool(NamedTuple):
    """The processes of a job."""

    least: int
    most: int
    """On a cluster they come and go with its machines."""
    gpus: float
    """Of each."""
    threads: int
    """Of each, to read and write."""


def pool(photographs: int, wanted: tuple[int, int] | None, gpus: float | None, machines: cluster.Machines) -> Pool:
    """Two processes share a GPU, so that one computes while the other reads and writes; without GPUs each has a core
    to itself.
    """
    usual = min(2 * machines.gpus, machines.cores)
    if wanted:
        usual = min(max(usual, wanted[0]), wanted[1])
    if gpus is None:
        gpus = min(1.0, machines.gpus / max(1, usual))
    room = machines.room(gpus)
    least, most = wanted or (room, photographs if machines.grows else room)
    least = max(1, min(least, photographs))
    most = max(1, min(most, photographs))
    threads = machines.cores // max(1, min(most, room)) if gpus else 1
    return Pool(least, most, gpus, max(1, threads))


def rows_of(todo: pa.Table, job: Job, actors: Pool) -> "ray.data.Dataset":
    """The catalogue's rows of the photographs in ``todo``, made by the pool of actors while they are iterated over."""
    import ray

    inputs, size = todo.select(sources.LISTING.names).combine_chunks(), _batch_size(todo, job.format, actors.least)
    # Not from_arrow, which runs a task for each block: seconds, and tens of kilobytes of the driver's memory each.
    return ray.data.from_blocks([inputs.slice(i, size) for i in range(0, len(inputs), size)]).map_batches(
        ColorizeActor,
        batch_size=size,  # of each block; with GPUs Ray insists on a number
        batch_format="pyarrow",
        fn_constructor_args=[replace(job, threads=actors.threads, on_gpu=actors.gpus > 0)],
        compute=ray.data.ActorPoolStrategy(min_size=actors.least, max_size=actors.most),
        num_cpus=1,
        num_gpus=actors.gpus,
    )


def _batch_size(todo: pa.Table, format: Format, actors: int) -> int:
    """Photographs in each call of an actor: few of a small archive, or actors would idle in the end."""
    each = max(1, (pc.sum(todo["bytes"]).as_py() or 0) // len(todo))
    batch = PARQUET_BATCH if format == "parquet" else min(BATCH, BATCH_BYTES // each)
    return max(1, min(batch, len(todo) // (4 * actors)), len(todo) // BLOCKS)


if __name__ == "__main__":
    cluster.command_line(main, ColorizeConfig, "jobs.colorize")
