"""Many photographs: a file is a command, a folder is what commands are made of."""

import os
import sys

try:
    import fcntl  # noqa: F401, its locks are how processes share a machine's memory
except ImportError:
    sys.exit(
        "error: colorize runs on Linux, not on Windows, whose Python lacks fcntl: install and run it in WSL, the "
        "Windows Subsystem for Linux"
    )

EXTRAS = {"torch": "train", "torchvision": "train", "scipy": "train", "skimage": "train", "matplotlib": "train"}
EXTRAS |= {"tensorboardX": "train", "onnx": "export"}
"""What pip is asked for where a module is missing that colouring does without."""


def _say_what_is_missing(kind, error, trace) -> None:
    """In one sentence, whether a command's own imports fail, as those of `python -m jobs.train`, or those within it."""
    cause = error
    while cause and not isinstance(cause, ModuleNotFoundError):
        cause = cause.__cause__
    missing = (cause.name or "").partition(".")[0] if cause else ""
    if missing not in EXTRAS:
        return sys.__excepthook__(kind, error, trace)
    advice = f"pip install 'colorize-archive[{EXTRAS[missing]}]'"
    print(f"error: this takes {missing}, which is not installed: {advice}", file=sys.stderr)
    sys.exit(2)


sys.excepthook = _say_what_is_missing

# Before PyTorch is imported: while its threads wait for each other they otherwise spin, which makes training several
# times slower wherever another process has one of the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
