"""What a training run writes down to be looked at: metrics.jsonl, TensorBoard events, the learning curve, a page.

All of it is made anew from the history, which checkpoints carry: after a resume nothing is there twice, and storage
that cannot append (S3) is no special case.
"""

import io
import json
import tempfile
from pathlib import Path

from jobs.pages.static import figure, static_page, table
from jobs.storage import files

LOSSES = ("train_loss", "loss")
CHARTED = (*LOSSES, "mse", "learning_rate", "images_per_second", "memory_mb")
CURVE = "learning-curve.png"


def write(run: str, history: list[dict]) -> None:
    """Store ``run/metrics.jsonl`` and ``run/tensorboard``; a row of the history has a ``step`` and a ``time``."""
    from tensorboardX import SummaryWriter

    files.write_bytes(f"{run}/metrics.jsonl", "".join(json.dumps(row) + "\n" for row in history).encode())
    with tempfile.TemporaryDirectory() as folder:
        with SummaryWriter(folder) as events:
            for row in history:
                for name in CHARTED:
                    if name in row:
                        events.add_scalar(name, row[name], row["step"], walltime=row["time"])
        (file,) = Path(folder).iterdir()
        files.write_bytes(f"{run}/tensorboard/events.out.tfevents.colorize", file.read_bytes())


def read(run: str) -> list[dict]:
    """The history of a run."""
    return [json.loads(line) for line in files.read_bytes(f"{run}/metrics.jsonl").splitlines()]


def sheet(epoch: int) -> str:
    """The name of the contact sheet of the validation photographs after an epoch."""
    return f"sheets/epoch-{epoch:04d}.jpg"


def write_page(run: str, history: list[dict]) -> None:
    """Store the learning curve and ``run/index.html``, which shows it beside the contact sheets, the newest first."""
    name = run.rpartition("/")[2]
    files.write_bytes(f"{run}/{CURVE}", learning_curve({name: history}))
    rows, sheets = [["epoch", "training loss", "validation loss", "MSE x 10^4"]], []
    for row in reversed([row for row in history if "loss" in row]):
        epoch = f"{row['epoch']:.0f}"
        rows.append([epoch, f"{row['train_loss']:.4f}", f"{row['loss']:.4f}", f"{1e4 * row['mse']:.2f}"])
        shows = f"Validation photographs: grey, as epoch {epoch} colours them, and the truth"
        sheets.append(figure(sheet(int(epoch)), shows, f"after epoch {epoch}"))
    curve = figure(CURVE, "Loss in training and in validation over the epochs")
    files.write_bytes(f"{run}/index.html", static_page(f"Training run {name}", curve, table(rows), *sheets))


def learning_curve(histories: dict[str, list[dict]]) -> bytes:
    """A PNG: loss in training and in validation (which the moving average of the weights is measured with) over the
    epochs, for one or several runs by their names.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for i, (name, history) in enumerate(histories.items()):
        validated = [row for row in history if "loss" in row]
        trained = [row for row in history if "train_loss" in row]
        axes.plot([r["epoch"] for r in trained], [r["train_loss"] for r in trained], ":", color=f"C{i}", alpha=0.7)
        axes.plot([r["epoch"] for r in validated], [r["loss"] for r in validated], color=f"C{i}", label=name)
    lowest = min(row[key] for history in histories.values() for row in history for key in LOSSES if key in row)
    axes.set(xlabel="epoch", ylabel="loss (dotted: training, line: validation)")
    axes.set_ylim(0.8 * lowest, 3 * lowest)  # the first steps may lie orders of magnitude above
    axes.grid(alpha=0.3)
    axes.legend()
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=120)
    return png.getvalue()
