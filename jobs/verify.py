"""Compare OUTPUT's catalogue with its files and with the scans, and on request mend what differs.

python -m jobs.verify OUTPUT [--mend]
"""

import contextlib
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated

from jobs import cli
from jobs.cli import JobFailed, UsageError
from jobs.storage import verification
from jobs.storage.catalog import Catalog
from jobs.storage.files import absolute
from jobs.storage.output import ASIDE, Place

SHOWN = 20  # of each kind


@dataclass(slots=True)
class VerifyConfig:
    """Compare OUTPUT's catalogue with its files and with the scans."""

    output: str
    """What a colouring job wrote its photographs and catalogue into; a folder or any fsspec URI."""
    _: KW_ONLY
    mend: bool = False
    """Put damaged files of the catalogue aside, in OUTPUT/aside, have missing photographs coloured again by the next
    run, and put aside what is not what was written, and pictures that no row needs, if they say that they are ours."""
    read_all: bool = False
    """Read every colour photograph and every scan in a file of its own, and compare digests, beside seeing whether they
    are there."""


def main(config: Annotated[VerifyConfig, cli.OPTIONS]) -> int:
    """Compare OUTPUT's catalogue with its files and with the scans, and on request mend what differs.

    Lists damaged files of the catalogue, rows whose photograph is gone, pictures that no row needs, and rows whose scan
    is gone. Exit status 3 where something was found and not mended.
    """
    output = absolute(config.output)
    try:
        if not Catalog(output).state:
            raise UsageError(f"{output} has no catalogue: give the OUTPUT of a job that colorize archive has done")
        # Held, or a job could use what is found unneeded.
        with Place(output).hold() if config.mend else contextlib.nullcontext():
            return _verify(config, output)
    except (UsageError, BrokenPipeError):  # such as that nobody reads what is said
        raise
    except OSError as error:
        doing = "mended" if config.mend else "read"
        raise JobFailed(f"{output} cannot be {doing} ({error}): see to its permissions and free space") from error


def _verify(config: VerifyConfig, output: str) -> int:
    found = verification.verify(output, config.read_all)
    _say("damaged files of the catalogue", found.damaged)
    _say("colour photographs that are gone, or not what was written", found.missing["output"].to_pylist())
    _say("pictures that no row needs", found.unneeded)
    _say("photographs that the catalogue names where OUTPUT was before", [*found.moved])
    _say("photographs whose scan is another one now", found.others["source"].to_pylist())
    _say("photographs whose scan is gone", found.gone["source"].to_pylist())
    _say("photographs whose scan is back", found.back["source"].to_pylist())
    if not found:
        print(f"{output} holds what its catalogue says")
        return cli.OK
    if not config.mend:
        print("--mend mends this")
        return cli.SOME_ERRORS
    kept = verification.mend(output, found)
    if aside := Place(output).count_aside():
        print(
            f"{output}/{ASIDE} has {aside:,} files that were put aside: look through them, and delete what nobody needs"
        )
    _say("pictures that do not prove to be ours, and were left alone", kept)
    if found.damaged or len(found.missing) or len(found.others):
        source = (Place(output).marker or {}).get("source", "SOURCE")
        print(f"mended; colorize archive {source} {output} colours again what has to be")
    else:
        print("mended")
    return cli.SOME_ERRORS if kept else cli.OK


def _say(what: str, names: Sequence[str]) -> None:
    if names:
        print(f"{len(names):,} {what}:")
        for name in names[:SHOWN]:
            print(f"  {name}")
        if len(names) > SHOWN:
            print(f"  ... and {len(names) - SHOWN:,} more")


app = cli.app(main, "verify", "colorize verify colour\ncolorize verify colour --mend")

if __name__ == "__main__":
    cli.command_line(app)
