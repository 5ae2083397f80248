"""Write the scans back from their colour photographs alone.

python -m jobs.restore OUTPUT FOLDER
"""

import sys
from collections import Counter
from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from jobs import cli
from jobs.cli import UsageError
from jobs.storage import listing, restoration
from jobs.storage.files import absolute

SENSES: dict[restoration.Sense, str] = {
    "file": "came back byte for byte, proved by SHA-256",
    "luma": "came back as a grey JPEG with the scan's luma coefficients",
    "other": "are no JPEG beside a scan's own luma: PNG and TIFF have every level of its grey, not its file",
    "failed": "failed",
}


@dataclass(slots=True)
class RestoreConfig:
    """Write the scans back from their colour photographs alone."""

    output: str
    """What a colouring job wrote its photographs into; a folder or any fsspec URI."""
    folder: str
    """Where to write the scans, under their own paths; a folder or any fsspec URI. Nothing there is replaced."""
    _: KW_ONLY
    dry_run: bool = False
    """Restore and compare, but write nothing: say how many would come back."""


def main(config: Annotated[RestoreConfig, cli.OPTIONS]) -> int:
    """Write the scans back from their colour photographs alone.

    Those that were coloured as JPEG come back byte for byte, or else as grey JPEG with the same luma coefficients; says
    how many did in which sense. Exit status 3 where some did not come back.
    """
    output, folder = absolute(config.output), absolute(config.folder)
    if listing.covers(output, folder) or listing.covers(folder, output):
        raise UsageError(f"{folder} must lie apart from {output}: choose another folder")

    counts: Counter = Counter()
    for result in restoration.restore(output, folder, config.dry_run):
        counts[result.sense] += 1
        if result.sense == "failed":
            print(f"{result.name}: {result.reason}", file=sys.stderr, flush=True)
    for sense, what in SENSES.items():
        if counts[sense]:
            print(f"{counts[sense]:,} {what}")
    return cli.SOME_ERRORS if counts["failed"] or counts["other"] else cli.OK


app = cli.app(main, "restore", "colorize restore colour scans\ncolorize restore s3://bucket/colour scans --dry-run")

if __name__ == "__main__":
    cli.command_line(app)
