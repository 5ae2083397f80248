"""The command `colorize`, with a subcommand for each job; `python -m jobs` is the same."""

import sys

from cyclopts import App

from colorize_core import __version__
from jobs import cli

# By name, so that a command loads what it needs and no other.
COMMANDS = {
    "archive": ("jobs.colorize", "Colour an archive of black-and-white photographs."),
    "verify": ("jobs.verify", "Compare a finished archive with its catalogue, and mend it."),
    "review": ("jobs.review", "Write the page on which people judge a finished job by looking."),
    "restore": ("jobs.restore", "Write the scans back from their colour photographs alone."),
    "train": ("jobs.train", "Train a colorizer on colour photographs."),
    "average": ("jobs.average", "Average weights that were trained apart from a common start."),
    "evaluate": ("jobs.evaluate", "Measure colourings of colour photographs."),
    "export": ("jobs.export", "Write a network as an ONNX file."),
}


def main() -> None:
    app = App(
        name="colorize",
        help="Turn archives of black-and-white photographs into colour. `colorize COMMAND --help` says more of each.",
        version=__version__,
        help_epilogue=cli.STATUSES,
    )
    for name, (module, what) in COMMANDS.items():
        app.command(f"{module}:app", name=name, help=what, sort_key=list(COMMANDS).index(name))
    cli.process(lambda: cli.parsed(app, sys.argv[1:])())


if __name__ == "__main__":
    main()
