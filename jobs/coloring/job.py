"""What the workers of one start of a colouring job are told, and what the outputs are called."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from colorize_core import encoding, formats, triage
from colorize_core.engine import Precision
from colorize_core.weights_file import WeightsFile
from jobs.storage.output import Hold

if TYPE_CHECKING:
    import ray

Format = Literal["png", "jpeg", "tiff", "keep", "parquet"]
Policy = Literal["recolor", "skip", "grey"]
SUFFIX: dict[encoding.Format, str] = {"png": "png", "jpeg": "jpg", "tiff": "tif"}
OUTPUTS: dict[encoding.Format, int] = {"png": 1, "jpeg": 2, "tiff": 1}
"""Version of what is made of a scan: raised when the same weights and settings give other bytes, not by a release."""
CONTENT: dict[str, encoding.Format] = {"JPEG": "jpeg", "TIFF": "tiff", "BigTIFF": "tiff"}
"""What ``keep`` keeps, by what content begins like and by suffixes."""
KEPT: dict[str, encoding.Format] = {  # all others become PNG
    ".jpg": "jpeg", ".jpeg": "jpeg", ".jpe": "jpeg", ".tif": "tiff", ".tiff": "tiff",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What every process of a job is told."""

    weights: "str | WeightsFile | ray.ObjectRef[WeightsFile]"
    """As a person names them, or what is in them: for workers in Ray's object store, since a path may be one of the
    driver's machine alone."""
    output: str
    format: Format
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
    hold: Hold | None = None
    """On OUTPUT, where workers are to prove that they see it."""
    threads: int = 1
    """To read and write with."""
    on_gpu: bool = False
    """Whether to use a GPU where the process can see one."""
    sharded: bool = False
    """Whether its photographs are in shards."""
    precision: Precision = "fast"
    manifest: dict | None = None
    """Of a colourizer of others, see ``WeightsFile``."""

    @property
    def weights_file(self) -> WeightsFile:
        """Raises ``WeightsError``."""
        if isinstance(self.weights, str):
            return WeightsFile.read(self.weights)
        if isinstance(self.weights, WeightsFile):
            return self.weights
        import ray

        return ray.get(self.weights)

    def settings(self, policy: Policy, kept: encoding.Format = "png") -> dict:
        """All that the output of a scan depends on, but for scan and weights, once it is known what is done with it;
        ``kept`` as ``container`` takes it."""
        if policy == "skip":
            return {"policy": policy}
        file = container(self.format, kept)
        named = "parquet" if self.format == "parquet" and file == "png" else file  # the same photograph as a JPEG
        common = {"policy": policy, "format": named, "provenance": self.provenance, "outputs": OUTPUTS[file]}
        if policy == "grey":
            return common
        look: dict = {"vividness": self.vividness, "variants": self.variants, "confidence_map": self.confidence_map}
        if self.precision != "fast":  # which differs from device to device by less than anybody sees
            look["precision"] = self.precision
        if self.manifest is not None:
            look["manifest"] = self.manifest
        return common | look

    @property
    def all_settings(self) -> dict[str, dict]:
        """By their digests, those that rows of this job may have."""
        ways = {(policy, kept) for policy in {*self.policies.values()} for kept in SUFFIX}
        return {self.digest(*way): self.settings(*way) for way in sorted(ways)}

    def digest(self, policy: Policy, kept: encoding.Format = "png") -> str:
        """Of these settings, as the catalogue has it."""
        text = json.dumps(self.settings(policy, kept), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def source_id(path: str | bytes) -> str:
    """The catalogue's id of a source: a hash of its path relative to SOURCE."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:32]


def named(path: str) -> encoding.Format:
    """The format that ``keep`` keeps of a source, by its name."""
    return KEPT.get(PurePosixPath(path).suffix.lower(), "png")


def holding(data: bytes) -> encoding.Format:
    """The same, by a source's first bytes: in a shard names say little."""
    return CONTENT.get(formats.begins_like(data) or "", "png")


def container(format: Format, kept: encoding.Format) -> encoding.Format:
    """The format of the colour photograph of a source of which ``keep`` keeps that format."""
    if format == "keep":
        return kept
    if format == "parquet":
        return "jpeg" if kept == "jpeg" else "png"
    return format


def output_name(format: Format, path: str) -> str:
    """Of a source's colour photograph: the suffix is added, so that no two sources collide."""
    return f"{path}.{SUFFIX[container(format, named(path))]}"
