"""Colour an archive of black-and-white photographs.

    python -m jobs.colorize PHOTOS OUTPUT
    ray job submit --working-dir . -- python -m jobs.colorize s3://bucket/scans s3://bucket/colour

Writes OUTPUT/images/<path relative to PHOTOS>.png, or another --format, and one row per input into
OUTPUT/catalog/*.parquet. The same command again continues where it stopped. Exit status: 0 all done, 3 done but some
inputs have error rows, 2 wrong usage, 1 the job failed.
"""

import contextlib
import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Annotated, NamedTuple, TextIO

import pyarrow as pa
import pyarrow.compute as pc

from colorize_core.weights_file import WeightsFile
from jobs import cli
from jobs.cli import UsageError
from jobs.coloring import run, todo
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.estimate import dry_run
from jobs.coloring.inputs import Inputs
from jobs.coloring.job import Job
from jobs.coloring.sharded import work_over
from jobs.coloring.summary import print_summary, together
from jobs.coloring.work import Work
from jobs.pages.review import page
from jobs.storage.catalog import Catalog
from jobs.storage.files import absolute
from jobs.storage.listing import base, is_list
from jobs.storage.output import ASIDE, Kind, Lease, Place
from jobs.storage.parts import WHOLE


def main(config: Annotated[ColorizeConfig, cli.OPTIONS]) -> int:
    """Colour an archive of black-and-white photographs: each at its native size, its luminance untouched.

    Writes OUTPUT/images/PATH.png (or another --format) for each photograph, a row for every input into
    OUTPUT/catalog/*.parquet, and OUTPUT/review/index.html. Of shards it writes others, OUTPUT/shards/PATH. Stop it at
    any time: the same command continues.
    """
    started = time.monotonic()
    out = sys.stderr if config.json else sys.stdout
    job, part = config.job, config.archive_part
    weights = _checked(job.weights_file)
    try:
        weights.check(config.vividness, config.variants)
    except ValueError as error:
        raise UsageError(str(error)) from error
    place, catalog = Place(job.output), Catalog(job.output)
    with contextlib.ExitStack() as held:
        inputs = held.enter_context(Inputs(config.source, job.output, part, place.folds_names))
        todo.check_apart(config.source, job.output)
        works = _works(inputs, replace(job, weights=weights, manifest=weights.manifest), config, place)
        try:
            listed = absolute(config.source) if is_list(config.source) else None
            claim: tuple[Kind, str, bool, bool] = "archive", base(config.source), config.moved, bool(catalog.state)
            if config.dry_run:
                place.check(*claim)
        except OSError as error:
            raise UsageError(f"{job.output} cannot be read ({error}): check the place and your credentials") from error
        if config.dry_run:
            dry_run(works, config.json, out)
            return cli.OK
        try:
            lease = held.enter_context(place.claim(*claim, part, listed))
        except OSError as error:
            raise UsageError(_no_place(job.output, error)) from error
        ends = []
        for end in map(partial(_colour, config=config, lease=lease, out=out), works):
            if isinstance(end, str):
                print(f"error: {end}", file=sys.stderr)
                return cli.FAILED
            ends.append(end)
        address = _review(job.output, out) if config.review and part == WHOLE else None
        aside = place.count_aside()
    seconds = time.monotonic() - started
    found = together([end.summary for end in ends]) if len(ends) > 1 else ends[0].summary
    busy = sum(end.coloured / end.rate for end in ends if end.rate)
    rate = sum(end.coloured for end in ends if end.rate) / busy if busy else None
    print_summary(found, seconds, rate, out)
    if aside:
        what = "1 file" if aside == 1 else f"{aside:,} files"
        print(f"{what} that somebody may have worked on: kept in {job.output}/{ASIDE} when replaced", file=out)
    photographs = f"{job.output}/{ends[0].photographs}"
    print(f"photographs: {photographs}\ncatalogue:   {catalog.folder}", file=out)
    if address:
        print(f"review:      {address}", file=out)
    elif config.review and part != WHOLE:
        print(f"review:      when all parts are done, by python -m jobs.review {job.output}", file=out)
    if config.json:
        found |= {"inputs": sum(end.total for end in ends), "already_done": sum(end.done for end in ends)}
        found |= {"aside": aside, "seconds": seconds, "photographs_per_second": rate, "model": weights.model}
        found |= {"settings": ends[0].settings}
        print(json.dumps(found | {"photographs": photographs, "catalog": catalog.folder, "review": address}))
    return cli.SOME_ERRORS if found["status"]["error"] else cli.OK


def _works(inputs: Inputs, job: Job, config: ColorizeConfig, place: Place) -> Iterable[Work]:
    """What is to be done, in parts of which one is in memory at a time. Raises ``UsageError`` before the first of them
    for what is asked of any.
    """

    def works() -> Iterator[Work]:
        return (work_over(inputs.share(part), job, config, place) for part in inputs.parts)

    if len(inputs.parts) == 1:
        return list(works())
    if config.only or config.hints:
        for _ in works():
            pass
    return works()


class _End(NamedTuple):
    """What came of a part."""

    summary: dict
    total: int
    """Inputs, of which so many were ``done`` already, and so many ``coloured`` now, at this ``rate`` a second."""
    done: int
    coloured: int
    rate: float | None
    photographs: str
    settings: str


def _colour(work: Work, config: ColorizeConfig, lease: Lease, out: TextIO) -> _End | str:
    """Do it; or why it had to be given up."""
    job, part = work.job, work.part
    try:
        work.record()
    except OSError as error:
        raise UsageError(_no_place(job.output, error)) from error
    wanted = work.wanted()
    done = work.total - len(work.refused) - len(wanted)
    again = "left as they are" if config.only else "already done"
    of_part = f"part {part}: {work.total:,} of " if part != WHOLE else ""
    model = job.weights_file.model
    print(f"{of_part}{work.listed:,} {work.noun}, {done:,} {again}, model {model}", file=out, flush=True)
    _say_why(wanted, out)
    rate = None
    try:
        if len(wanted):
            rate, hopeless = run.colour(work, wanted, config, lease, out)
            if hopeless:
                return hopeless
        work.finish()
    except OSError as error:
        return run.unwritable(job.output, error)
    try:
        work.catalog.compact()
    except OSError as error:  # such as a bucket where nothing may be deleted
        print(f"the catalogue keeps superseded rows, its older files cannot be deleted: {error}", file=sys.stderr)
    return _End(work.summary(), work.total, done, len(wanted), rate, work.photographs, job.digest("recolor"))


def _no_place(output: str, reason: OSError) -> str:
    return f"{output} cannot be written to ({reason}): see to its permissions and free space, or choose another OUTPUT"


def _say_why(wanted: pa.Table, out) -> None:
    """What is coloured again costs as much as what is new, so it is said before it begins."""
    again = {pair["values"]: pair["counts"] for pair in pc.value_counts(wanted["why"]).to_pylist()}
    again.pop("new", None)
    if again:
        because = ", ".join(f"{count:,} {why}" for why, count in again.items())
        print(f"{sum(again.values()):,} will be coloured again: {because}", file=out, flush=True)


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
