"""The experiment this project grew from, run again: one breed of Oxford-IIIT Pet, 134 / 36 / 30 photographs, 224 x 224.

    python -m benchmarks.seed_experiment PETS --storage runs/seed

PETS is a folder of photographs named as in Oxford-IIIT Pet. Rows of the table:

* grey, and the mean colour of the training photographs: what a network must beat;
* own mean: every photograph's own mean colour, taken from the truth: a network with the right tint everywhere and no
  other knowledge would reach it;
* seed, nearest and deconv: the recipe of omkarb09/Image-Colorization (mean squared error, Adam at 1e-2, batches of
  32, flips, no schedule), upsampling as in its code and as in its text. Two things differ: its "L" was luma and here
  is CIE L*; its network gave (ab + 128) / 255 and ours gives ab / 100, so that it starts at grey;
* ours: the same network with our recipe, from a random start;
* ours, warm: the same, starting from the weights that ship.

Each is trained by jobs.train, validated after every epoch, and measured with its best epoch; a killed experiment goes
on with the same command. "MSE" is in the seed's units, (ab + 128) / 255, over the whole set, before the merge;
"last" is the last epoch's. PSNR (peak 255, of the whole set's squared error, since one photograph is grey), SSIM,
CIEDE2000 and colourfulness are of the merged 8-bit pictures. "unseen" is another breed. STORAGE gets the table as
JSON, the learning curves, and test photographs as pictures.
"""

import io
import json
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Annotated

import cyclopts
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from colorize_core import color, metrics, network, training
from colorize_core.objective import chroma_loss
from colorize_core.weights_file import WeightsFile
from jobs import cli, train
from jobs.cli import OPTIONS
from jobs.pages.contact_sheet import contact_sheet
from jobs.storage import files, listing
from jobs.training import logbook, shards
from jobs.training.config import TrainConfig

SIZE = 224
SEED = {"objective": "mse", "optimizer": "adam", "learning_rate": 1e-2, "schedule": "constant"}
SEED |= {"clip": 0.0, "ema": 0.0, "crop_area": 1.0}
OURS = {"objective": "mse", "batch_size": 16, "ema": 0.98}
ROWS = {
    "seed, nearest": SEED,
    "seed, deconv": SEED | {"upsampling": "deconv"},
    "ours": OURS,
    "ours, warm": OURS | {"weights": "resnet18"},
}


@dataclass(slots=True)
class ExperimentConfig:
    """Run the seed's experiment and print its table."""

    source: str
    """Folder of photographs named as in Oxford-IIIT Pet."""
    _: KW_ONLY
    storage: str
    """Folder or URI for the runs and the results."""
    breed: str = "german_shorthaired"
    """Class to train, validate and test on; the seed's was basset_hound."""
    split: str = "134/36/30"
    unseen: str = "basset_hound"
    """Class of the additional test; it takes no part in the training."""
    epochs: int = 40
    """Of every run; the seed took 1,000."""


def main(config: Annotated[ExperimentConfig, OPTIONS]) -> int:
    storage = files.absolute(config.storage)
    runs = {name: f"{storage}/{name.replace(', ', '-')}" for name in ROWS}
    for name, recipe in ROWS.items():
        print(f"\n{name}", flush=True)
        options = {
            "only": (config.breed,),
            "split": config.split,
            "min_chroma": 0.0,
            "size": SIZE,
            "network": "resnet18",
        }
        options |= {"storage": storage, "name": runs[name].rpartition("/")[2], "epochs": config.epochs, "workers": "1"}
        train.main(TrainConfig(source=config.source, **options, **recipe))

    prepared = shards.read(f"{runs['ours']}/data")
    sets = {split: prepared.take(prepared.stretch(split))["image"].to_pylist() for split in shards.SPLITS}
    unseen = [file for file in listing.list_sources(config.source) if shards.class_of(file.path) == config.unseen]
    side = training.prepared_side(SIZE)
    sets["unseen"] = [training.prepare(files.read_bytes(file.uri), side, 0.0) for file in unseen]

    lab = [training.examples([image], SIZE)[1].mean((0, 2, 3)) for image in sets["train"]]
    mean = torch.stack(lab).mean(0)
    colourings: dict[str, Callable] = {
        "grey": lambda lightness, ab: torch.zeros_like(ab),
        "mean colour": lambda lightness, ab: mean[None, :, None, None].expand_as(ab),
        "own mean": lambda lightness, ab: ab.mean((2, 3), keepdim=True).expand_as(ab),
    }
    for name, run in runs.items():
        model = network.of_file(WeightsFile.read(f"{run}/weights.safetensors"))
        colourings[name] = torch.inference_mode()(lambda lightness, ab, model=model: model(lightness))
    histories = {name: logbook.read(run) for name, run in runs.items()}
    table = {}
    for name, colouring in colourings.items():
        table[name] = {split: _measure(sets[split], colouring) for split in ("validation", "test", "unseen")}
        if name in histories:
            table[name]["last"] = [row["mse"] for row in histories[name] if "mse" in row][-1]
    _print(table, sets, config)

    chosen = [sets["test"][i] for i in np.linspace(0, len(sets["test"]) - 1, 6).astype(int)]
    truths = [_truth(image) for image in chosen]
    pictures = [[*(_colour(truth, c)[1] for c in colourings.values()), truth] for truth in truths]
    sheet = io.BytesIO()
    contact_sheet([*colourings, "truth"], pictures).save(sheet, "PNG")
    files.write_bytes(f"{storage}/pictures.png", sheet.getvalue())
    files.write_bytes(f"{storage}/learning-curves.png", logbook.learning_curve(histories))
    files.write_bytes(f"{storage}/table.json", json.dumps(table, indent=1).encode())
    print(f"written: {storage}/table.json, learning-curves.png, pictures.png")
    return cli.OK


def _truth(image: bytes) -> np.ndarray:
    return training.centre_square(training.decode(image), SIZE)


def _colour(truth: np.ndarray, colouring: Callable) -> tuple[float, np.ndarray]:
    """A photograph's squared error in the seed's units, and the merged picture (H, W, 3)."""
    grey = color.grey_of(truth)
    lightness = torch.from_numpy(color.lightness(grey))[None, None]
    ab = torch.from_numpy(color.rgb_to_lab(truth)[..., 1:]).permute(2, 0, 1)[None]
    predicted = colouring(lightness, ab)
    mse = chroma_loss(predicted, ab, "mse").item()
    return mse, color.merge(grey, np.ascontiguousarray(predicted[0].permute(1, 2, 0).numpy()))


def _measure(images: list[bytes], colouring: Callable) -> dict[str, float]:
    """Means over photographs, and the PSNR of the mean squared error."""
    rows = []
    for image in images:
        truth = _truth(image)
        mse, picture = _colour(truth, colouring)
        row = {"mse": mse, "squared_error": float(np.mean((truth.astype(np.float64) - picture) ** 2))}
        row |= {"ssim": metrics.ssim(truth, picture), "ciede2000": metrics.ciede2000(truth, picture)}
        row |= {"colorfulness": metrics.colorfulness(picture), "true_colorfulness": metrics.colorfulness(truth)}
        rows.append(row)
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return means | {"psnr": 10 * np.log10(255**2 / means["squared_error"])}


def _print(table: dict, sets: dict[str, list[bytes]], config: ExperimentConfig) -> None:
    print(
        f"\n{config.breed}: {' / '.join(str(len(sets[split])) for split in shards.SPLITS)} photographs, "
        f"{SIZE} x {SIZE}, {config.epochs} epochs; unseen: {len(sets['unseen'])} of {config.unseen}; "
        f"true colourfulness {table['grey']['test']['true_colorfulness']:.1f} (test)"
    )
    columns = Table()
    columns.add_column("")
    headings = ["MSE x 10^4\nvalidation", "last\nepoch", "\ntest", "test\nPSNR dB", "\nSSIM", "CIEDE-\n2000"]
    for heading in [*headings, "colour-\nfulness", "\ndelta", "unseen\nMSE", "\nPSNR dB", "CIEDE-\n2000"]:
        columns.add_column(heading, justify="right")
    for name, row in table.items():
        test, unseen = row["test"], row["unseen"]
        columns.add_row(
            name, f"{row['validation']['mse'] * 1e4:.2f}", f"{row['last'] * 1e4:.2f}" if "last" in row else "",
            f"{test['mse'] * 1e4:.2f}", f"{test['psnr']:.2f}", f"{test['ssim']:.4f}", f"{test['ciede2000']:.2f}",
            f"{test['colorfulness']:.1f}", f"{abs(test['colorfulness'] - test['true_colorfulness']):.1f}",
            f"{unseen['mse'] * 1e4:.2f}", f"{unseen['psnr']:.2f}", f"{unseen['ciede2000']:.2f}",
        )  # fmt: skip
    Console(width=130).print(columns)


if __name__ == "__main__":
    cli.run(partial(cyclopts.run, main))
