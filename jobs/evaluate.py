"""Measure colourings of colour photographs that the models have not seen.

    python -m jobs.evaluate PHOTOS [--weights A B ...] [--output DIR]

Every photograph is resized so that its shorter side is 256 pixels and cut to the central 256 x 256, turned
grey, coloured as jobs.colorize does it, and compared with the truth. Two baselines stand beside the models:
leaving it grey, and one mean colour for all (the mean of these very photographs, so the best constant
there is). Prints a table; with --output, stores it as evaluation.json beside a contact sheet,
contact-sheet.png (grey | models | truth).
"""

import io
import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from colorize_core import color, metrics, photo, training
from colorize_core.colorizer import Colorizer
from jobs import cluster, sources
from jobs.cluster import UsageError
from jobs.contact_sheet import contact_sheet

GREY, MEAN = "grey", "mean colour"
METRICS = {"psnr": metrics.psnr, "ssim": metrics.ssim, "ciede2000": metrics.ciede2000}


@dataclass(kw_only=True, slots=True)
class EvaluateConfig:
    """Measure colourings of colour photographs."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SOURCE")]
    """Folder, file or glob of colour photographs; local or any fsspec URI."""
    weights: tuple[str, ...] = ("default",)
    """Models to compare: `default`, names of weights that ship, paths or URIs of .safetensors files."""
    output: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder or URI for evaluation.json and contact-sheet.png."""
    sheet: int = 12
    """Photographs on the contact sheet, spread evenly over the source."""
    size: int = 256
    """Side of the square that is compared, in pixels."""


def main(config: EvaluateConfig) -> int:
    files = sources.list_sources(config.source)
    colorizers = {weights: Colorizer.load(weights, "cpu") for weights in config.weights}
    cores = cluster.start()
    import ray

    inputs = [{"uri": file.uri, "path": file.path} for file in files]
    blocks = 4 * cores
    sums = ray.data.from_items(inputs, override_num_blocks=blocks).map(_mean_chroma, fn_args=[config.size]).take_all()
    failed = {row["path"]: row["error"] for row in sums if row["error"]}
    for path, error in failed.items():
        print(f"left out: {path}: {error}", file=sys.stderr)
    if len(failed) == len(files):
        raise UsageError(f"{config.source} holds no photograph that can be read: point to colour photographs")
    mean = np.mean([(row["a"], row["b"]) for row in sums if not row["error"]], axis=0)

    inputs = [row for row in inputs if row["path"] not in failed]
    rows = ray.data.from_items(inputs, override_num_blocks=blocks).map_batches(
        _Evaluator,
        batch_size=8,
        fn_constructor_args=[config.weights, config.size, mean.tolist()],
        compute=ray.data.ActorPoolStrategy(size=min(cores, len(files))),
        num_cpus=1,
    )
    measured = sorted(rows.take_all(), key=lambda row: (row["path"], row["setting"]))
    report = _report(measured, [GREY, MEAN, *config.weights])
    _print(report, config, mean)
    if config.output:
        output = sources.absolute(config.output)
        sheet = _contact_sheet([f for f in files if f.path not in failed], colorizers, config)
        report |= {"source": config.source, "size": config.size, "left_out": failed, "per_photograph": measured}
        report["models"] = {weights: colorizer.model for weights, colorizer in colorizers.items()}
        sources.write_bytes(f"{output}/evaluation.json", json.dumps(report, indent=1).encode())
        sources.write_bytes(f"{output}/contact-sheet.png", sheet)
        print(f"written: {output}/evaluation.json, {output}/contact-sheet.png")
    return cluster.SOME_ERRORS if failed else cluster.OK


def _square(uri: str, size: int) -> np.ndarray:
    """The central square of a photograph, sRGB (size, size, 3) uint8. Raises ``PhotoError`` or ``OSError``."""
    return training.centre_square(photo.read(sources.read_bytes(uri)).rgb_8bit, size)


def _mean_chroma(row: dict, size: int) -> dict:
    try:
        lab = color.rgb_to_lab(_square(row["uri"], size))
    except (photo.PhotoError, OSError) as error:
        return {"path": row["path"], "a": 0.0, "b": 0.0, "error": str(error)}
    return {"path": row["path"], "a": float(lab[..., 1].mean()), "b": float(lab[..., 2].mean()), "error": ""}


class _Evaluator:
    """One worker process: colours photographs with every model and baseline, and measures them."""

    def __init__(self, weights: tuple[str, ...], size: int, mean: list[float]):
        import torch

        torch.set_num_threads(1)  # the pool has a process per core
        cv2.setNumThreads(1)
        self.colorizers = {name: Colorizer.load(name) for name in weights}
        self.size, self.mean = size, np.array(mean, np.float32)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list]:
        rows = defaultdict(list)
        for path, uri in zip(batch["path"], batch["uri"], strict=True):
            truth = _square(uri, self.size)
            grey = color.grey_of(truth)
            colourings = {GREY: np.repeat(grey[..., None], 3, axis=2)}
            colourings[MEAN] = color.merge(grey, self.mean[None, None])
            for name, colorizer in self.colorizers.items():
                colourings[name] = colorizer.colorize(photo.Photo(grey))
            for setting, image in colourings.items():
                rows["path"].append(path)
                rows["setting"].append(setting)
                for name, metric in METRICS.items():
                    rows[name].append(metric(truth, image))
                rows["colorfulness"].append(metrics.colorfulness(image))
                rows["true_colorfulness"].append(metrics.colorfulness(truth))
        return rows


def _report(measured: list[dict], settings: list[str]) -> dict:
    """Means over the photographs, per setting, in the order of ``settings``."""
    table = {}
    for setting in settings:
        rows = [row for row in measured if row["setting"] == setting]
        means = {name: float(np.mean([row[name] for row in rows])) for name in (*METRICS, "colorfulness")}
        true = float(np.mean([row["true_colorfulness"] for row in rows]))
        table[setting] = means | {"delta_colorfulness": abs(means["colorfulness"] - true)}
    return {"photographs": len(rows), "true_colorfulness": true, "settings": table}


def _print(report: dict, config: EvaluateConfig, mean: np.ndarray) -> None:
    print(
        f"{report['photographs']} photographs, {config.size} x {config.size}, true colourfulness "
        f"{report['true_colorfulness']:.1f}, mean colour a = {mean[0]:.1f}, b = {mean[1]:.1f}"
    )
    table = Table()
    table.add_column("")
    for heading in ("PSNR dB", "SSIM", "CIEDE2000", "colourfulness", "delta"):
        table.add_column(heading, justify="right")
    for setting, row in report["settings"].items():
        table.add_row(
            setting, f"{row['psnr']:.2f}", f"{row['ssim']:.4f}", f"{row['ciede2000']:.2f}",
            f"{row['colorfulness']:.1f}", f"{row['delta_colorfulness']:.1f}",
        )  # fmt: skip
    Console(width=110).print(table)


def _contact_sheet(files: list[sources.Source], colorizers: dict[str, Colorizer], config: EvaluateConfig) -> bytes:
    """A PNG with a row per photograph: grey, each model's colouring, truth."""
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, min(config.sheet, len(files))).astype(int)]
    rows = []
    for file in chosen:
        truth = _square(file.uri, config.size)
        grey = color.grey_of(truth)
        rows.append([grey, *(c.colorize(photo.Photo(grey)) for c in colorizers.values()), truth])
    sheet = contact_sheet(["grey", *colorizers, "truth"], rows)
    png = io.BytesIO()
    sheet.save(png, "PNG")
    return png.getvalue()


if __name__ == "__main__":
    cluster.command_line(main, EvaluateConfig, "jobs.evaluate")
