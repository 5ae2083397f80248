"""Colour an archive of black-and-white photographs.

    python -m jobs.colorize PHOTOS OUTPUT
    ray job submit --working-dir . -- python -m jobs.colorize s3://bucket/scans s3://bucket/colour

Writes OUTPUT/images/<path relative to PHOTOS>.png, or another --format, and one row per input into
OUTPUT/catalog/*.parquet. The same command again continues where it stopped. Exit status: 0 all done, 3 done but some
inputs have error rows, 2 wrong usage, 1 the job failed.
"""

import json
import sys
import time
from collections import Counter
from dataclasses import asdict, replace
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc

from colorize_core import __version__
from colorize_core.weights_file import WeightsFile
from jobs import cli, cluster
from jobs.cli import UsageError
from jobs.coloring import todo
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.estimate import SAMPLE, estimate
from jobs.coloring.job import Job
from jobs.coloring.pool import pool, rows_of
from jobs.coloring.progress import Progress, duration
from jobs.coloring.summary import print_summary, summary
from jobs.pages.review import page
from jobs.storage import parquet
from jobs.storage.catalog import Catalog
from jobs.storage.files import printable, write_bytes
from jobs.storage.listing import listing

CATALOG_SECONDS = 10.0  # rows wait at most this long for their catalogue file: what a kill makes us do again
ENOUGH_TO_JUDGE = 100  # photographs before --max-error-rate applies


def main(config: Annotated[ColorizeConfig, cli.OPTIONS]) -> int:
    """Colour an archive of black-and-white photographs: each at its native size, its luminance untouched.

    Writes OUTPUT/images/PATH.png (or another --format) for each photograph, a row for every input into
    OUTPUT/catalog/*.parquet, and OUTPUT/review/index.html. Stop it at any time: the same command continues.
    """
    started = time.monotonic()
    out = sys.stderr if config.json else sys.stdout
    job = config.job
    output, settings = job.output, job.settings
    inputs = listing(config.source)
    todo.check_apart(config.source, inputs, output)
    inputs = inputs.append_column("id", todo.ids(inputs["path"]))
    job = replace(job, thumbnails=job.thumbnails and len(inputs) <= page.MOST)
    decided = todo.decided(inputs, config) if config.only else {}
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
                parquet.sweep(catalog, output)
    except OSError as error:
        raise UsageError(f"{output} cannot be written to ({error}): choose another OUTPUT") from error

    if config.only:
        if not config.dry_run:
            catalog.decide(decided)
        wanted = todo.marked(inputs, decided)
        done = "left as they are"
    else:
        wanted = todo.todo(inputs, catalog, weights.model, settings, config.retry_errors)
        done = "already done"
    print(f"{len(inputs):,} inputs, {len(inputs) - len(wanted):,} {done}, model {weights.model}", file=out, flush=True)
    if config.dry_run:
        return _dry_run(wanted, job, config, out)
    rate = None
    if len(wanted):
        kept = {"model": weights.model, "code_version": __version__} | asdict(config)
        write_bytes(f"{output}/settings/{settings}.json", json.dumps(kept, indent=1).encode())
        rate, hopeless = _colorize_all(wanted, job, config, catalog, out)
        if hopeless:
            print(f"error: {hopeless}", file=sys.stderr)
            return cli.FAILED
    if config.format == "parquet":
        parquet.sweep(catalog, output)
    try:
        catalog.compact()
    except OSError as error:  # such as a bucket where nothing may be deleted
        print(f"the catalogue keeps superseded rows, its older files cannot be deleted: {error}", file=sys.stderr)
    address = _review(output, out) if config.review else None
    seconds = time.monotonic() - started
    found = summary(catalog, inputs["id"])
    print_summary(found, seconds, rate, out)
    place = f"{output}/{'parquet' if config.format == 'parquet' else 'images'}"
    print(f"photographs: {place}\ncatalogue:   {catalog.folder}", file=out)
    if address:
        print(f"review:      {address}", file=out)
    if config.json:
        found |= {"inputs": len(inputs), "already_done": len(inputs) - len(wanted), "seconds": seconds}
        found |= {"photographs_per_second": rate, "model": weights.model, "settings": settings}
        print(json.dumps(found | {"photographs": place, "catalog": catalog.folder, "review": address}))
    return cli.SOME_ERRORS if found["status"]["error"] else cli.OK


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


def _dry_run(wanted: pa.Table, job: Job, config: ColorizeConfig, out) -> int:
    reasons = {pair["values"]: pair["counts"] for pair in pc.value_counts(wanted["why"]).to_pylist()}
    size = pc.sum(wanted["bytes"]).as_py() or 0
    seconds = estimate(wanted, job) if len(wanted) else 0.0
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
    wanted: pa.Table, job: Job, config: ColorizeConfig, catalog: Catalog, out
) -> tuple[float | None, str | None]:
    """Run the pool of actors over ``wanted`` and store their rows as they come.

    Returns photographs per second, and the reason to stop early where there is one.
    """
    cluster.start()
    machines = cluster.wait_for(1, config.gpus or 0, config.wait, out)
    actors = pool(len(wanted), cli.number_range("--actors", config.actors), config.gpus, machines)
    results = rows_of(wanted, job, actors)
    waiting, stored, hopeless = [], time.monotonic(), None
    with Progress(len(wanted), out) as progress:
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
