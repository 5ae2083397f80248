"""The model and everything about one photograph; never imports Ray."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("colorize-archive")
except PackageNotFoundError:  # a bare checkout, as in a Ray job's working directory
    __version__ = "0.1.0"
