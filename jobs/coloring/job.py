"""What the workers of one start of a colouring job are told, and what the outputs are called."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from colorize_core import encoding, triage
from colorize_core.engine import Precision
from colorize_core.weights_file import WeightsFile
from jobs.storage.output import Hold

if TYPE_CHECKING:
    import ray

Format = Literal["png", "jpeg", "tiff", "keep", "parquet"]
Policy = Literal["recolor", "skip", "grey"]
SUFFIX = {"png": "png", "jpeg": "jpg", "tiff": "tif"}
OUTPUTS: dict[encoding.Format, int] = {"png": 1, "jpeg": 2, "tiff": 1}
"""Version of what is made of a scan: raised when the same weights and settings give other bytes, not by a release."""
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

    def settings(self, policy: Policy, path: str = "") -> dict:
        """All that the output of a scan depends on, but for scan and weights, once it is known what is done with it."""
        if policy == "skip":
            return {"policy": policy}
        file = container(self.format, path)
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
        ways = {(policy, f"a.{name}") for policy in {*self.policies.values()} for name in SUFFIX}
        return {self.digest(*way): self.settings(*way) for way in sorted(ways)}

    def digest(self, policy: Policy, path: str = "") -> str:
        """Of these settings, as the catalogue has it."""
        text = json.dumps(self.settings(policy, path), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def source_id(path: str | bytes) -> str:
    """The catalogue's id of a source: a hash of its path relative to SOURCE."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:32]


def container(format: Format, path: str) -> encoding.Format:
    """The format of a source's colour photograph, which depends on the source's name alone."""
    kept = KEPT.get(PurePosixPath(path).suffix.lower(), "png")
    if format == "keep":
        return kept
    if format == "parquet":
        return "jpeg" if kept == "jpeg" else "png"
    return format


def output_name(format: Format, path: str) -> str:
    """Of a source's colour photograph: the suffix is added, so that no two sources collide."""
    return f"{path}.{SUFFIX[container(format, path)]}"
