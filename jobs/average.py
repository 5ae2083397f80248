"""Average weights of the same network that were trained apart from a common start: one network, better than each.

    python -m jobs.average runs/a/weights.safetensors runs/b/weights.safetensors --run runs/a --output c.safetensors

Networks that share their start lie in one basin of the loss, and the mean of their weights generalises better than any
of them (model soups, Wortsman et al. 2022). The result is measured and calibrated on the validation photographs of a
run; it costs nothing when colouring.
"""

import json
from dataclasses import KW_ONLY, dataclass
from typing import Annotated

import numpy as np

from colorize_core.weights_file import WeightsFile
from jobs import cli
from jobs.cli import UsageError
from jobs.storage.files import absolute, file_system, read_bytes, write_bytes
from jobs.storage.output import Place
from jobs.training import shards
from jobs.training.config import TrainConfig
from jobs.training.finish import calibrated, measured
from jobs.training.run import SETTINGS


@dataclass(slots=True)
class AverageConfig:
    """Average weights of the same network that were trained apart from a common start."""

    weights: tuple[str, ...]
    """Two or more files of weights: names of those that ship, paths or URIs."""
    _: KW_ONLY
    run: str
    """Folder or URI of a training run, STORAGE/NAME, whose validation photographs measure and calibrate the average."""
    output: str
    """Path or URI of the average, a .safetensors file."""
    shares: Annotated[tuple[float, ...], cli.SEVERAL] = ()
    """Share of each file, in their order, as numbers above 0. Default: all alike."""
    config: cli.ConfigFile = None
    """YAML file with values for these options, by their names; the command line supersedes them."""

    def __post_init__(self):
        if len(self.weights) < 2:
            raise UsageError("an average takes two or more files of weights")
        if self.shares and (len(self.shares) != len(self.weights) or min(self.shares) <= 0):
            raise UsageError(f"--shares must be {len(self.weights)} numbers above 0, one for each file")


def main(config: Annotated[AverageConfig, cli.OPTIONS]) -> int:
    """Average weights of one network that were trained apart from a common start: better than each of them."""
    files = [WeightsFile.read(path) for path in config.weights]
    networks = [f"{file.config['network']} {file.config['settings']}" for file in files]
    for file, network in zip(files, networks, strict=True):
        if network != networks[0]:
            raise UsageError(
                f"{file.path} is of network {network}, {files[0].path} of {networks[0]}: give weights of one network, "
                "trained from the same start"
            )
    try:
        Place(absolute(config.output).rpartition("/")[0]).make()
        fs, path = file_system(config.output)
        there = fs.exists(path)
    except OSError as error:
        raise UsageError(f"{config.output} cannot be written ({error}): choose another --output") from error
    if there:
        raise UsageError(f"{config.output} is there already: choose another --output, or move it away")
    try:
        settings = json.loads(read_bytes(f"{config.run}/{SETTINGS}"))
        prepared = shards.read(f"{config.run}/data")
    except OSError as error:
        raise UsageError(f"{config.run} is not the folder of a run of jobs.train: {error}") from error
    run = TrainConfig(**settings, storage="", input_side=files[0].config["input_side"])
    shares = [share / sum(config.shares or [len(files)]) for share in config.shares or [1.0] * len(files)]
    tensors, about = average(files, shares)
    loss, mse = measured(WeightsFile.pack(tensors, about), prepared, run, "validation")
    about["training"]["metrics"] = {"loss": loss, "mse": mse}
    write_bytes(config.output, calibrated(WeightsFile.pack(tensors, about), prepared, run), new=True)
    print(f"validation: loss {loss:.5g}  mse {mse:.5g}\nweights: {config.output}")
    return cli.OK


def average(files: list[WeightsFile], shares: list[float]) -> tuple[dict[str, np.ndarray], dict]:
    """The weighted mean of all tensors, float32 but for counters, and a configuration that says what it was made of."""
    made_of = [
        {"weights": file.model, "share": round(share, 4), "training": file.config.get("training", {})}
        for file, share in zip(files, shares, strict=True)
    ]
    states = [file.tensors for file in files]
    mean = dict(states[0])  # counters stay those of the first
    for key in [key for key, value in mean.items() if value.dtype == np.float16]:
        each = (share * state[key].astype(np.float32) for share, state in zip(shares, states, strict=True))
        mean[key] = np.sum(list(each), axis=0)
    return mean, files[0].config | {
        "training": {"photographs": made_of[0]["training"].get("photographs"), "average_of": made_of}
    }


app = cli.app(
    main,
    "average",
    """
colorize average runs/a/weights.safetensors runs/b/weights.safetensors --run runs/a --output c.safetensors
""",
)

if __name__ == "__main__":
    cli.command_line(app)
