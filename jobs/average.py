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

from colorize_core import colorizer, network
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
    for file in files[1:]:
        for key in ("network", "settings"):
            if file.config[key] != files[0].config[key]:
                raise UsageError(
                    f"{file.path} is of {key} {file.config[key]}, {files[0].path} of {files[0].config[key]}: give "
                    "weights of one network, trained from the same start"
                )
    try:
        settings = json.loads(sources.read_bytes(f"{config.run}/{train.SETTINGS}"))
        prepared = shards.read(f"{config.run}/data")
    except OSError as error:
        raise UsageError(f"{config.run} is not the folder of a run of jobs.train: {error}") from error
    run = train.TrainConfig(**settings, storage="", input_side=files[0].config["input_side"])
    shares = [share / sum(config.shares or [len(files)]) for share in config.shares or [1.0] * len(files)]
    packed = average(files, shares)
    loss, mse = train.measured(packed, prepared, run, "validation")
    average_ = colorizer.Colorizer.from_file(WeightsFile.parse(packed, "average"))
    average_.file.config["training"]["metrics"] = {"loss": loss, "mse": mse}
    sources.write_bytes(config.output, train.calibrated(average_.pack(), prepared, run))
    print(f"validation: loss {loss:.5g}  mse {mse:.5g}\nweights: {config.output}")
    return cluster.OK


def average(files: list[WeightsFile], shares: list[float]) -> bytes:
    """A file of the weighted mean of the tensors, its header that of the first file with what it was made of."""
    states = [load(file.data) for file in files]
    mean = {}
    for key, first in states[0].items():
        weighted = [share * state[key].float() for share, state in zip(shares, states, strict=True)]
        mean[key] = sum(weighted) if first.is_floating_point() else first  # a counter
    start = files[0].config
    model = network.build(start["network"], **start["settings"])
    model.load_state_dict(mean)
    made_of = [
        {"weights": file.model, "share": round(share, 4), "training": file.config.get("training", {})}
        for file, share in zip(files, shares, strict=True)
    ]
    training = {"photographs": start.get("training", {}).get("photographs"), "average_of": made_of}
    return colorizer.pack_weights(model, start["network"], start["settings"], start["input_side"], training)


if __name__ == "__main__":
    cluster.command_line(main, AverageConfig, "jobs.average")
