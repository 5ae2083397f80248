"""Write the page on which people judge a finished job by looking.

    python -m jobs.review OUTPUT

Writes OUTPUT/review/index.html. jobs.colorize, whose workers make the thumbnails on the way, writes the same page at
its end. For institutions, also what IIIF viewers show, and a table of what people decided.
"""

import contextlib
import io
from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from pyarrow import csv

from jobs import cli
from jobs.cli import UsageError
from jobs.pages import iiif
from jobs.pages.review import page
from jobs.storage.catalog import Catalog
from jobs.storage.catalog_stream import CatalogStream
from jobs.storage.files import absolute, read_bytes, write_bytes
from jobs.storage.output import Place

RECORD = [
    "id", "source", "source_sha256", "output", "output_sha256", "status", "model", "confidence", "decision",
    "finished_at",
]  # fmt: skip


@dataclass(slots=True)
class ReviewConfig:
    """Write the page on which people judge a finished job by looking."""

    output: str
    """What a colouring job wrote its photographs and catalogue into; a folder or any fsspec URI."""
    _: KW_ONLY
    iiif: str | None = None
    """URL at which a web server offers OUTPUT: write OUTPUT/iiif/collection.json and a manifest for each folder, with
    which IIIF viewers show each original with its colours as a choice."""
    originals: str | None = None
    """URL at which a web server offers the scans, for `--iiif`."""
    record: str | None = None
    """CSV file to write, for a catalogue of record: original and colour photograph of every input with their digests,
    the weights, and what people decided."""
    serve: bool = False
    """Offer the page to browsers of this machine until Ctrl+C: hints are coloured at once, decisions are kept in
    OUTPUT/review/decisions.json, and applied on a click."""
    port: int = 0
    """For `--serve`; 0 is one that is free."""
    weights: str = "default"
    """For `--serve`: those that OUTPUT was coloured with, as `colorize archive` takes them."""

    def __post_init__(self):
        if (self.iiif is None) != (self.originals is None):
            raise UsageError("--iiif and --originals go together: the URLs of the colours, and of the scans")


def main(config: Annotated[ReviewConfig, cli.OPTIONS]) -> int:
    """Write the page on which people judge a finished job by looking: OUTPUT/review/index.html."""
    output = absolute(config.output)
    catalog = Catalog(output)
    if not CatalogStream(catalog).paths:
        raise UsageError(f"{output} has no catalogue: give the OUTPUT of a job that colorize archive has done")
    try:
        with Place(output).hold():
            print(f"review: {page.write(output)}")
            if config.iiif and config.originals:
                print(f"IIIF:   {iiif.write(output, config.iiif, config.originals)}")
    except OSError as error:
        raise UsageError(f"{output} cannot be written ({error}): check permissions and free space") from error
    if config.record:
        _write_record(config.record, catalog)
    if config.serve:
        _serve(config, output)
    return cli.OK


def _write_record(uri: str, catalog: Catalog) -> None:
    """In the place of an earlier one, but of nothing else."""
    sink = io.BytesIO()
    csv.write_csv(catalog.read(RECORD).sort_by("source"), sink)
    data = sink.getvalue()
    heading = data.partition(b"\n")[0]
    try:
        with contextlib.suppress(FileNotFoundError):
            if read_bytes(absolute(uri)).partition(b"\n")[0] != heading:
                raise UsageError(f"{uri} is there already and has other columns: choose another place, or move it away")
        write_bytes(absolute(uri), data)
    except OSError as error:
        raise UsageError(f"{uri} cannot be written ({error}): choose another place") from error


def _serve(config: ReviewConfig, output: str) -> None:
    from jobs.serving import server  # the network, which nothing else here needs

    if CatalogStream(Catalog(output)).more_than(page.MOST):
        raise UsageError(
            f"{output} has more photographs than the {page.MOST:,} that a page can show, so it cannot be served: open "
            f"{output}/review/index.html, which shows a sample, export the decisions, and give them to --only"
        )
    try:
        server.run(output, config.weights, config.port)
    except OSError as error:
        raise UsageError(f"{output} cannot be served ({error}): choose another --port") from error


app = cli.app(
    main,
    "review",
    """
colorize review colour
colorize review colour --iiif https://archive.example/colour --originals https://archive.example/scans
colorize review colour --record record.csv
colorize review colour --serve
""",
)

if __name__ == "__main__":
    cli.command_line(app)
