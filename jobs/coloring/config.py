"""The options of a colouring job."""

import uuid
from dataclasses import KW_ONLY, dataclass
from importlib.util import find_spec
from typing import Annotated, Literal

from colorize_core.engine import Precision
from jobs import cli
from jobs.cli import UsageError
from jobs.coloring.job import Format, Job
from jobs.storage.files import absolute
from jobs.storage.parts import WHOLE, Part


@dataclass(slots=True)
class ColorizeConfig:
    """Colour an archive of black-and-white photographs."""

    source: str
    """The photographs: a file, a folder (searched recursively), a glob, or a list of paths and URIs (.txt, or .csv and
    .parquet with a column `uri`); on this machine or on any fsspec file system, such as `s3://`. Or shards: Parquet
    files with a column `image`, or WebDataset's .tar."""
    output: str
    """Folder or URI for the colour photographs, the catalogue and the review page."""
    _: KW_ONLY
    format: Format | None = None
    """Format of the colour photographs. `keep`: TIFF for TIFF, JPEG for JPEG, PNG for all else; `parquet`: JPEG for
    JPEG, PNG for all else, in a column of Parquet files. PNG and TIFF keep every pixel's lightness; a JPEG keeps the
    luma of its JPEG scan, and has 8 bits. Default: `png`, but of shards `keep`."""
    vividness: float | None = None
    """From 0, the colours that are the least wrong on average, to 1, as colourful as colour photographs are. Default:
    0.5, for weights that have a choice."""
    weights: str = "default"
    """`default`, the name of weights that ship, or the path or URI of a .safetensors file; or of an .onnx file, a
    colourizer that others made, with a manifest of the same name and .yaml beside it where its kind is not known."""
    precision: Annotated[Precision, cli.EXPERTS] = "fast"
    """`fast`: bfloat16 where a device has it, which is 0.3 CIE units off on average; `float32`: the same colours, but
    for rounding, on every machine."""
    variants: int = 1
    """Number of colourings of each photograph, 1 to 5; those beyond the first are written to OUTPUT/variants/2, ..."""
    confidence_map: bool = False
    """Write a grey picture of each photograph into OUTPUT/confidence: white where its colours can be trusted."""
    if_color: Literal["skip", "recolor"] = "skip"
    """What to do with a photograph that is in colour already."""
    if_tinted: Literal["recolor", "skip"] = "recolor"
    """What to do with a photograph in a single hue, such as sepia; it is coloured from its lightness."""
    if_text: Literal["grey", "recolor", "skip"] = "grey"
    """What to do with text and line drawings; `grey` writes them without colour."""
    only: str | None = None
    """CSV or JSON file of decisions, as the review page exports it: colour again the photographs that it marks with
    `redo`, and no others, and record all its decisions in the catalogue. JSON may have hints as well."""
    hints: str | None = None
    """CSV file of colours that somebody knows, with the columns path (relative to SOURCE), x and y (pixels of the
    upright scan), color (#rrggbb or none) and, if wanted, radius (pixels); for weights that take hints. They hold until
    others are given for a photograph, or a line with its path alone."""
    retry_errors: bool = False
    """Try again what failed before, beside what is new or has changed."""
    review: bool = True
    """Write OUTPUT/review/index.html, a page to look at the colours and to decide about each photograph."""
    provenance: bool = True
    """Write into each photograph (XMP) that its colours are machine-made, by which weights, and from which file."""
    part: str | None = None
    """One of several parts of the archive, such as 3/16, by the hash of each path, so that up to 16 jobs share it, one
    after the other or at the same time, here or there, with the same SOURCE and OUTPUT."""
    moved: bool = False
    """Say that the photographs of OUTPUT are now at SOURCE; otherwise an OUTPUT takes those of one SOURCE alone."""
    dry_run: bool = False
    """Say what would be done, and about how long it would take, and do nothing."""
    json: bool = False
    """Print the summary as one JSON object on standard output, and all else on standard error."""
    config: cli.ConfigFile = None
    """YAML file with values for these options, by their names; the command line supersedes them."""
    actors: Annotated[str | None, cli.EXPERTS] = None
    """Number of worker processes, N or MIN:MAX; with a range they come and go with the machines of a cluster. Default:
    two for each GPU, or one for each processor core where there is no GPU; on a cluster more as machines join."""
    gpus: Annotated[float | None, cli.EXPERTS] = None
    """GPUs of each worker process, such as 0.5; 0 leaves GPUs alone. Default: what there is, shared by the workers."""
    wait: Annotated[float, cli.EXPERTS] = 600.0
    """Seconds to wait until a cluster has room for the first worker process."""
    timeout: Annotated[float, cli.EXPERTS] = 600.0
    """Seconds that a few photographs, or a large one, may take to decode, colour and store. What takes longer, or
    crashes its process, is tried again alone, and then gets an error row."""
    max_error_rate: Annotated[float | None, cli.EXPERTS] = None
    """Share of photographs, 0 to 1: stop, with exit status 1, once more than that have failed, of at least 100.
    Default: never."""

    def __post_init__(self):
        cli.number_range("--actors", self.actors)
        if self.gpus is not None and (self.gpus < 0 or (self.gpus > 1 and self.gpus % 1)):
            raise UsageError(f"--gpus must be a share between 0 and 1, or a whole number, not {self.gpus}")
        if self.gpus and not find_spec("torch"):
            raise UsageError("--gpus takes PyTorch, which is not installed: pip install 'colorize-archive[gpu]'")
        if not self.timeout > 0:
            raise UsageError(f"--timeout must be above 0, not {self.timeout}")
        if self.format == "parquet" and (self.variants > 1 or self.confidence_map):
            raise UsageError("--variants and --confidence-map write pictures of their own: choose another --format")
        if self.format == "parquet" and self.archive_part != WHOLE:
            raise UsageError("--format parquet puts photographs of several parts into a file: choose it or --part")
        if self.max_error_rate is not None and not 0 <= self.max_error_rate <= 1:
            raise UsageError(f"--max-error-rate must lie in [0, 1], not {self.max_error_rate}")

    @property
    def archive_part(self) -> Part:
        return Part.parse(self.part) if self.part else WHOLE

    @property
    def policies(self) -> dict:
        return {"color": self.if_color, "tinted": self.if_tinted, "text": self.if_text, "grey": "recolor"}

    @property
    def job(self) -> Job:
        """What the workers of one start of the job are told."""
        return Job(
            weights=self.weights, output=absolute(self.output), format=self.format or "png",
            provenance=self.provenance, policies=self.policies,
            vividness=self.vividness, variants=self.variants, confidence_map=self.confidence_map,
            precision=self.precision,
            timeout=self.timeout, thumbnails=self.review, run=uuid.uuid4().hex[:12],
        )  # fmt: skip
