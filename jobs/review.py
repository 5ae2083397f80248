"""Write the page on which people judge a finished job by looking.

    python -m jobs.review OUTPUT

Writes OUTPUT/review/index.html. jobs.colorize, whose workers make the thumbnails on the way, writes the same page at
its end.
"""

from dataclasses import dataclass
from typing import Annotated

from jobs import cli
from jobs.cli import UsageError
from jobs.pages.review import page
from jobs.storage.catalog import Catalog
from jobs.storage.files import absolute
from jobs.storage.output import Place


@dataclass(slots=True)
class ReviewConfig:
    """Write the page on which people judge a finished job by looking."""

    output: str
    """What a colouring job wrote its photographs and catalogue into; a folder or any fsspec URI."""


def main(config: Annotated[ReviewConfig, cli.OPTIONS]) -> int:
    """Write the page on which people judge a finished job by looking: OUTPUT/review/index.html."""
    output = absolute(config.output)
    if not Catalog(output).state:
        raise UsageError(f"{output} has no catalogue: give the OUTPUT of a job that colorize archive has done")
    try:
        with Place(output).hold():
            print(f"review: {page.write(output)}")
    except OSError as error:
        raise UsageError(f"{output}/review cannot be written ({error}): check permissions and free space") from error
    return cli.OK


app = cli.app(
    main,
    "review",
    """
colorize review colour
""",
)

if __name__ == "__main__":
    cli.command_line(app)
