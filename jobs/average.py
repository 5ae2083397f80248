"""Average weights of the same network that were trained apart from a common start: one network, better than each.

    python -m jobs.average runs/a/weights.safetensors runs/b/weights.safetensors --run runs/a --output c.safetensors

Networks that share their start lie in one basin of the loss, and the mean of their weights generalises better than any
of them (model soups, Wortsman et al. 2022). The result is measured and calibrated on the validation photographs of a
run; it costs nothing when colouring.
"""

import json
from dataclasses import dataclass
from typing import Annotated

import tyro
from safetensors.torch import load

from colorize_core.colorizer import Colorizer
from colorize_core.weights_file import WeightsFile
from jobs import cluster, shards, sources, train
from jobs.cluster import UsageError


@dataclass(kw_only=True, slots=True)
class AverageConfig:
    """Average weights of the same network that were trained apart from a common start."""

    weights: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="WEIGHTS ...")]
    """Two or more files of weights: names of those that ship, paths or URIs."""
    run: Annotated[str, tyro.conf.arg(metavar="RUN")]
    """Folder or URI of a run of jobs.train, STORAGE/NAME, whose validation photographs measure and calibrate."""
    output: Annotated[str, tyro.conf.arg(metavar="FILE")]
    """Path or URI of the average, a .safetensors file."""
    shares: Annotated[tuple[float, ...], tyro.conf.arg(metavar="SHARE ...")] = ()
    """Of each file, in their order; by default all alike."""
    config: Annotated[str | None, tyro.conf.arg(metavar="YAML")] = None
    """File with values for these options, by their names; those on the command line supersede them."""

    def __post_init__(self):
        if len(self.weights) < 2:
            raise UsageError("an average takes two or more files of weights")
        if self.shares and (len(self.shares) != len(self.weights) or min(self.shares) <= 0):
            raise UsageError(f"--shares must be {len(self.weights)} numbers above 0, one for each file")


def main(config: AverageConfig) -> int:
    files = [WeightsFile.read(path) for path in config.weights]
    networks = [f"{file.config['network']} {file.config['settings']}" for file in files]
    for file, network in zip(files, networks, strict=True):
        if network != networks[0]:
            raise UsageError(
                f"{file.path} is of network {network}, {files[0].path} of {networks[0]}: give weights of one network, "
                "trained from the same start"
            )
    try:
        settings = json.loads(sources.read_bytes(f"{config.run}/{train.SETTINGS}"))
        prepared = shards.read(f"{config.run}/data")
    except OSError as error:
        raise UsageError(f"{config.run} is not the folder of a run of jobs.train: {error}") from error
    run = train.TrainConfig(**settings, storage="", input_side=files[0].config["input_side"])
    shares = [share / sum(config.shares or [len(files)]) for share in config.shares or [1.0] * len(files)]
    mean = average(files, shares)
    loss, mse = train.measured(mean.pack(), prepared, run, "validation")
    mean.file.config["training"]["metrics"] = {"loss": loss, "mse": mse}
    sources.write_bytes(config.output, train.calibrated(mean.pack(), prepared, run))
    print(f"validation: loss {loss:.5g}  mse {mse:.5g}\nweights: {config.output}")
    return cluster.OK


def average(files: list[WeightsFile], shares: list[float]) -> Colorizer:
    """The first one with the weighted mean of all tensors, and a summary of what it was made of; ready to be packed."""
    made_of = [
        {"weights": file.model, "share": round(share, 4), "training": file.config.get("training", {})}
        for file, share in zip(files, shares, strict=True)
    ]
    states = [load(file.data) for file in files]
    mean = Colorizer.from_file(files[0])
    for key, value in mean.network.state_dict().items():
        if value.is_floating_point():  # the others are counters
            value.copy_(sum(share * state[key].float() for share, state in zip(shares, states, strict=True)))
    mean.file.config["training"] = {
        "photographs": made_of[0]["training"].get("photographs"),
        "average_of": made_of,
    }
    return mean


if __name__ == "__main__":
    cluster.command_line(main, AverageConfig, "jobs.average")
