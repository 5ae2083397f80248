"""What the workers of one start of a colouring job are told, and what the outputs are called."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from colorize_core import encoding, triage

Format = Literal["png", "jpeg", "tiff", "keep", "parquet"]
Policy = Literal["recolor", "skip", "grey"]
SUFFIX = {"png": "png", "jpeg": "jpg", "tiff": "tif"}
KEPT = {".jpg": "jpeg", ".jpeg": "jpeg", ".jpe": "jpeg", ".tif": "tiff", ".tiff": "tiff"}  # all others become PNG


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What every process of a job is told."""

    weights: str
    output: str
    format: Format
    settings: str
    """Digest of all that outputs depend on, but for weights and photographs."""
    provenance: bool
    policies: dict[triage.Kind, Policy]
    vividness: float | None
    variants: int
    confidence_map: bool
    timeout: float
    """Seconds that a few photographs, or a large one, may take once they are read."""
    thumbnails: bool
    """Whether to make those of the review page."""
    run: str
    """Another name for each start of the job."""
    threads: int = 1
    """To read and write with."""
    on_gpu: bool = False
    """Whether to use a GPU where the process can see one."""


def source_id(path: str | bytes) -> str:
    """The catalogue's id of a source: a hash of its path relative to SOURCE."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:32]


def container(format: Format, path: str) -> encoding.Format:
    """The format of a source's colour photograph, which depends on the source's name alone."""
    if format == "keep":
        return KEPT.get(PurePosixPath(path).suffix.lower(), "png")
    return "png" if format == "parquet" else format


def output_name(format: Format, path: str) -> str:
    """Of a source's colour photograph: the suffix is added, so that no two sources collide."""
    return f"{path}.{SUFFIX[container(format, path)]}"
