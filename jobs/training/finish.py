"""The end of a run: its best weights are calibrated, measured on the test split, and stored."""

import re
from collections.abc import Iterator

import numpy as np
import torch

from colorize_core import colorizer, network, objective, training
from colorize_core.weights_file import WeightsFile
from jobs.storage.output import Place
from jobs.training import shards, stream
from jobs.training.config import TrainConfig

CHECKPOINT_FILES = {"state.pt", "weights.safetensors", ".metadata.json"}  # the last one is Ray's
CHECKPOINT = re.compile(r"checkpoint_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d\.\d+")  # as Ray calls them
CALIBRATED_ON = 1000  # photographs, at most


def calibrated(weights: bytes, prepared: shards.Prepared, config: TrainConfig) -> bytes:
    """The weights' file with what colours need beside the network, measured on photographs of the validation split: the
    vividness on those chosen with the same weights as in training, and the confidence on the groups that were held out,
    if any were.
    """
    from colorize_core.calibration import calibrate_confidence, calibrate_vividness

    model = colorizer.Colorizer.from_file(WeightsFile.parse(weights, "trained"))
    model.input_side = config.input_side or config.size
    if model.file.gives_distribution:
        validation = prepared.take(prepared.stretch("validation")[: 10 * CALIBRATED_ON])

        def photographs(weights: dict[str, float]) -> Iterator[np.ndarray]:
            heap = np.cumsum([weights.get(group, 0) for group in validation["group"].to_pylist()])
            count = min(CALIBRATED_ON, len(heap))
            chosen = np.searchsorted(heap, (np.arange(count) + 0.5) / count * heap[-1])
            return map(training.decode, validation["image"].take(chosen).to_pylist())

        trained = config.weights_of(prepared.groups) or dict.fromkeys(prepared.groups, 1.0)
        held_out = {group: trained.pop(group) for group in config.hold_out}
        calibrate_vividness(model, photographs(trained))
        calibrate_confidence(model, photographs(held_out or trained))
    return model.pack()


def measured(weights: bytes, prepared: shards.Prepared, config: TrainConfig, split: str) -> tuple[float, float]:
    """Loss and mean squared error in the seed's units of weights, a file's content, on a split."""
    model = network.of_file(WeightsFile.parse(weights, "trained"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batches = stream.validation_batches(prepared, split, config.batch_size, config.size)
    minimised = config.objective or objective.default(model)
    loss, mse, count = training.validate(model.to(device), batches, minimised, device).tolist()
    return loss / count, mse / count


def remove_leftovers(run: str, kept: set[str]) -> None:
    """Delete checkpoints that a kill left half-written or half-deleted."""
    place = Place(run)
    for path in place.folders(""):
        name = path.rpartition("/")[2]
        if CHECKPOINT.fullmatch(name) and name not in kept:
            place.remove_folder(path, CHECKPOINT_FILES)
