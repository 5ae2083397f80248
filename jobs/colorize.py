"""Colour an archive of black-and-white photographs.

    python -m jobs.colorize PHOTOS OUTPUT
    ray job submit --working-dir . -- python -m jobs.colorize s3://bucket/scans s3://bucket/colour

Writes OUTPUT/images/<path relative to PHOTOS>.png, or another --format, and one row per input into
OUTPUT/catalog/*.parquet. The same command again continues where it stopped. Exit status: 0 all done, 3 done but some
inputs have error rows, 2 wrong usage, 1 the job failed.
"""

import contextlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc

from colorize_core.weights_file import WeightsFile
from jobs import cli, cluster
from jobs.cli import UsageError
from jobs.coloring import few, hinted, pool, refusal, superseded, todo
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.estimate import SAMPLE, estimate
from jobs.coloring.identity import identified
from jobs.coloring.job import Job
from jobs.coloring.progress import Progress, duration
from jobs.coloring.summary import print_summary, summary
from jobs.pages.decisions import Said
from jobs.pages.review import page
from jobs.storage import parquet
from jobs.storage.catalog import Catalog
from jobs.storage.files import printable, write_bytes
from jobs.storage.listing import base, listing
from jobs.storage.output import Kind, Lease, Place
from jobs.storage.parts import WHOLE

CATALOG_SECONDS = 10.0  # rows wait at most this long for their catalogue file: what a kill makes us do again
ENOUGH_UNSTORED = 20  # photographs that cannot be stored, before a job gives up
ENOUGH_TO_JUDGE = 100  # photographs before --max-error-rate applies


def main(config: Annotated[ColorizeConfig, cli.OPTIONS]) -> int:
    """Colour an archive of black-and-white photographs: each at its native size, its luminance untouched.

    Writes OUTPUT/images/PATH.png (or another --format) for each photograph, a row for every input into
    OUTPUT/catalog/*.parquet, and OUTPUT/review/index.html. Stop it at any time: the same command continues.
    """
    started = time.monotonic()
    out = sys.stderr if config.json else sys.stdout
    job, part = config.job, config.archive_part
    inputs = listing(config.source)
    todo.check_apart(config.source, inputs, job.output)
    weights = _checked(job.weights_file)
    try:
        weights.check(config.vividness, config.variants)
    except ValueError as error:
        raise UsageError(str(error)) from error
    place, catalog = Place(job.output), Catalog(job.output, part)
    files, refused = map(part.rows, identified(inputs, config.format, place.folds_case))
    job = replace(
        job, weights=weights, manifest=weights.manifest, thumbnails=job.thumbnails and len(inputs) <= page.MOST
    )
    said = todo.decided(files, config.only, config.source, part) if config.only else None
    given = (said.hints if said else {}) | (hinted.read(config.hints, files, part) if config.hints else {})
    try:
        claim: tuple[Kind, str, bool, bool] = "archive", base(config.source), config.moved, bool(catalog.state)
        if config.dry_run:
            place.check(*claim)
    except OSError as error:
        raise UsageError(f"{job.output} cannot be read ({error}): check the place and your credentials") from error
    if config.dry_run:
        return _dry_run(_wanted(files, given, catalog, job, config, said), refused, job, config, out)
    with contextlib.ExitStack() as held:
        try:
            lease = held.enter_context(place.claim(*claim, part))
            if config.format == "parquet":
                parquet.sweep(catalog, job.output)
            if said:
                catalog.decide(said.decisions)
            refusal.record(refused, catalog, job)
        except OSError as error:
            raise UsageError(f"{job.output} cannot be written to ({error}): choose another OUTPUT") from error
        wanted = _wanted(files, given, catalog, job, config, said)
        done = len(files) - len(wanted)
        again = "left as they are" if config.only else "already done"
        of_part = f"part {part}: {len(files) + len(refused):,} of " if part != WHOLE else ""
        print(f"{of_part}{len(inputs):,} inputs, {done:,} {again}, model {weights.model}", file=out, flush=True)
        _say_why(wanted, out)
        before = superseded.coloured(catalog, wanted)
        try:
            rate, hopeless = _colorize_all(wanted, job, config, catalog, lease, out) if len(wanted) else (None, None)
            if hopeless:
                print(f"error: {hopeless}", file=sys.stderr)
                return cli.FAILED
            superseded.settle(before, catalog, place)
            if config.format == "parquet":
                parquet.sweep(catalog, job.output)
        except OSError as error:
            print(f"error: {_unwritable(job.output, error)}", file=sys.stderr)
            return cli.FAILED
        try:
            catalog.compact()
        except OSError as error:  # such as a bucket where nothing may be deleted
            print(f"the catalogue keeps superseded rows, its older files cannot be deleted: {error}", file=sys.stderr)
        address = _review(job.output, out) if config.review and part == WHOLE else None
    seconds = time.monotonic() - started
    found = summary(catalog, pa.chunked_array([*files["id"].chunks, *refused["id"].chunks], pa.string()))
    print_summary(found, seconds, rate, out)
    photographs = f"{job.output}/{'parquet' if config.format == 'parquet' else 'images'}"
    print(f"photographs: {photographs}\ncatalogue:   {catalog.folder}", file=out)
    if address:
        print(f"review:      {address}", file=out)
    elif config.review and part != WHOLE:
        print(f"review:      when all parts are done, by python -m jobs.review {job.output}", file=out)
    if config.json:
        found |= {"inputs": len(files) + len(refused), "already_done": done, "seconds": seconds}
        found |= {"photographs_per_second": rate, "model": weights.model, "settings": job.digest("recolor")}
        print(json.dumps(found | {"photographs": photographs, "catalog": catalog.folder, "review": address}))
    return cli.SOME_ERRORS if found["status"]["error"] else cli.OK


def _wanted(
    files: pa.Table,
    given: dict[str, list[dict]],
    catalog: Catalog,
    job: Job,
    config: ColorizeConfig,
    said: Said | None,
) -> pa.Table:
    """The files to colour, with columns ``hints`` and ``why``."""
    rows = catalog.read(todo.COLUMNS)  # once: of a large archive it takes seconds
    files = hinted.hinted(files, rows, given)
    if said:
        wanted = todo.marked(files, said.decisions)
    else:
        wanted = todo.todo(files, rows, job.weights_file.model, job, config.retry_errors)
    if wanted["hints"].null_count < len(wanted):
        try:
            job.weights_file.check(config.vividness, config.variants, hints=True)
        except ValueError as error:
            raise UsageError(str(error)) from error
    return wanted


def _say_why(wanted: pa.Table, out) -> None:
    """What is coloured again costs as much as what is new, so it is said before it begins."""
    again = {pair["values"]: pair["counts"] for pair in pc.value_counts(wanted["why"]).to_pylist()}
    again.pop("new", None)
    if again:
        because = ", ".join(f"{count:,} {why}" for why, count in again.items())
        print(f"{sum(again.values()):,} will be coloured again: {because}", file=out, flush=True)


def _unwritable(output: str, reason: object) -> str:
    return f"{output} cannot be written to ({reason}): see to its free space and connection; the same command continues"


def _checked(weights: WeightsFile) -> WeightsFile:
    """Weights that a user brings are loaded once here, so that what is wrong with them is said at once; ours are not,
    since that takes seconds.
    """
    if not weights.ships:
        from colorize_core.colorizer import Colorizer

        Colorizer.from_file(weights, "cpu")
    return weights


def _review(output: str, out) -> str | None:
    """The page's address. A job whose photographs are all there does not fail for it."""
    try:
        return page.write(output, out)
    except UsageError as error:
        print(f"no review page: {error}", file=sys.stderr)
    except Exception as error:
        reason = str(error).strip().rpartition("\n")[2]  # of an error in a task, the last line is the cause
        print(
            f"the review page could not be written ({reason}): python -m jobs.review {output} tries again",
            file=sys.stderr,
        )
    return None


def _dry_run(wanted: pa.Table, refused: pa.Table, job: Job, config: ColorizeConfig, out) -> int:
    reasons = {pair["values"]: pair["counts"] for pair in pc.value_counts(wanted["why"]).to_pylist()}
    size = pc.sum(wanted["bytes"]).as_py() or 0
    seconds = estimate(wanted, job) if len(wanted) else 0.0
    for row in refused.slice(0, 20).to_pylist():
        print(f"refused: {printable(os.fsdecode(row['uri']))}: {row['problem']}", file=out)
    for row in wanted.slice(0, 20).select(["path", "why"]).to_pylist():
        print(f"{row['why']}: {printable(row['path'].decode('utf-8', 'surrogateescape'))}", file=out)
    if len(wanted) > 20:
        print(f"... and {len(wanted) - 20:,} more", file=out)
    print(
        f"{len(wanted):,} to colour ({', '.join(f'{n:,} {why}' for why, n in reasons.items()) or 'none'}), "
        f"{size / 1e6:,.1f} MB; about {duration(seconds)} on one core of this machine, judged by "
        f"{min(SAMPLE, len(wanted))} of them. Nothing was done.",
        file=out,
    )
    if config.json:
        print(json.dumps({"todo": len(wanted), "why": reasons, "bytes": size, "core_seconds": seconds}))
    return cli.OK


def _colorize_all(
    wanted: pa.Table, job: Job, config: ColorizeConfig, catalog: Catalog, lease: Lease, out
) -> tuple[float | None, str | None]:
    """Run the pool of actors over ``wanted`` and store their rows as they come.

    Returns photographs per second, and the reason to stop early where there is one.
    """
    results = _results(wanted, replace(job, hold=lease.hold), config, out)
    waiting, stored, hopeless, unstored = [], time.monotonic(), None, 0
    for digest, settings in job.all_settings.items():
        write_bytes(f"{job.output}/settings/{digest}.json", json.dumps(settings, indent=1).encode())
    with Progress(len(wanted), out) as progress, pool.plainly():
        try:
            for rows in results:
                waiting.append(rows)
                progress.advance(rows)
                if hopeless := _hopeless(progress.counts, config, catalog):
                    break
                lost = rows.filter(pc.and_(pc.equal(rows["status"], "error"), pc.equal(rows["source_version"], "")))
                unstored += len(lost)
                if unstored >= ENOUGH_UNSTORED:
                    hopeless = _unwritable(job.output, lost["error"][0] if len(lost) else "see its catalogue")
                    break
                if time.monotonic() - stored > CATALOG_SECONDS:
                    lease.check()
                    catalog.append(pa.concat_tables(waiting))
                    waiting, stored = [], time.monotonic()
        finally:  # also where the job is stopped
            if waiting:
                catalog.append(pa.concat_tables(waiting))
    return progress.rate, hopeless


def _results(wanted: pa.Table, job: Job, config: ColorizeConfig, out) -> Iterator[pa.Table]:
    """The rows of ``wanted``, as they come, from a process beside this one or from Ray's."""
    if few.are(wanted, config):
        return few.rows_of(wanted, job, config.gpus)
    gpus = config.gpus if _can_use_gpus(job, config) else 0.0
    cluster.start()
    memory = pool.process_bytes(job)
    machines = cluster.wait_for(1, config.gpus or 0, config.wait, out, memory)
    wanted_actors = cli.number_range("--actors", config.actors)
    actors = pool.pool(len(wanted), wanted_actors, gpus, machines, memory)
    return pool.rows_of(wanted, job, actors)


def _can_use_gpus(job: Job, config: ColorizeConfig) -> bool:
    """Whether what they take is installed. Raises ``UsageError`` where others' colourizer is asked to use some."""
    if job.manifest is None:
        return find_spec("torch") is not None
    from colorize_core.foreign_engine import NEEDS, gpu_runs_onnx

    if config.gpus and not gpu_runs_onnx():
        raise UsageError(f"{job.weights_file.path}: {NEEDS}")
    return gpu_runs_onnx()


def _hopeless(counts: Counter, config: ColorizeConfig, catalog: Catalog) -> str | None:
    """Why to go no further, where so many have failed."""
    failed, done, most = counts["error"], counts.total(), config.max_error_rate
    if most is None or done < ENOUGH_TO_JUDGE or failed <= most * done:
        return None
    return (
        f"{failed:,} of {done:,} photographs failed, more than --max-error-rate {most} allows: see the reasons in "
        f"{catalog.folder}; the same command with a higher rate continues"
    )


app = cli.app(
    main,
    "archive",
    """
colorize archive scans colour
colorize archive s3://bucket/scans s3://bucket/colour --format keep
colorize archive scans colour --only decisions.csv --vividness 0.3
""",
)

if __name__ == "__main__":
    cli.command_line(app)
