"""What each worker of a training run does: the loop, its checkpoints, and what is written down on the way."""

import io
import math
import resource
import tempfile
import time
from dataclasses import asdict
from pathlib import Path, PurePath

import torch
import torch.distributed

from colorize_core import color, network, training
from colorize_core.weights_file import WeightsFile
from jobs.cli import UsageError
from jobs.pages.contact_sheet import contact_sheet
from jobs.storage import files
from jobs.training import logbook, shards, stream

TICK = 10  # steps between two looks at the clock, which all workers take together
ROWS_PER_EPOCH = 20  # at most, in metrics.jsonl
NOT_VALIDATED = -1e9  # score of a checkpoint within an epoch: the worst, since Ray keeps the best and the newest
SHEET = 6  # photographs on an epoch's contact sheet


def train_worker(settings: dict) -> None:
    """Train on this worker's share of every batch.

    ``settings`` holds the ``config`` of the run as a dictionary (a class of the driver's main module cannot travel),
    the ``prepared`` photographs, the URI of the ``run``, and ``lines``, a queue to the driver for lines to print and
    for an error that ends the run.
    """
    import ray.train
    import ray.train.torch

    from jobs.machine import granted
    from jobs.training.config import TrainConfig

    config, prepared, lines = TrainConfig(**settings["config"]), settings["prepared"], settings["lines"]
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    if device.type == "cpu":  # Ray gives a worker as many threads as it reserves CPUs; use the whole machine
        torch.set_num_threads(max(1, granted.cores() // context.get_local_world_size()))
    torch.manual_seed(config.seed)
    model = network.build(config.network, **config.network_settings, pretrained=config.pretrained)
    if config.weights:
        # Not strict: weights that take no hints may start a network that does, see ``_check_start``.
        model.load_state_dict(network.of_file(WeightsFile.read(config.weights)).state_dict(), strict=False)
    order = stream.Order(prepared.counts["train"], config.batch_size, config.seed, rank, workers)
    state = training.Training(model, config, order.steps * config.epochs, device, ray.train.torch.prepare_model)
    history: list[dict] = []
    recent = {"steps": 0, "loss": 0.0}  # since the last row of the history
    if checkpoint := ray.train.get_checkpoint():
        with checkpoint.as_directory() as folder:
            saved = torch.load(Path(folder, "state.pt"), map_location="cpu", weights_only=True)
        history, recent = saved.pop("history"), saved.pop("recent")
        torch.set_rng_state(saved.pop("random"))
        state.load_state_dict(saved)

    def summed(values: torch.Tensor) -> torch.Tensor:
        """Over all workers; on the CPU."""
        values = values.to(device)
        if workers > 1:
            torch.distributed.all_reduce(values)
        return values.cpu()

    def save(metrics: dict) -> None:
        """Every worker reports to Ray; the first one brings a checkpoint."""
        if rank:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            whole = state.state_dict() | {"history": history, "recent": recent, "random": torch.get_rng_state()}
            torch.save(whole, Path(folder, "state.pt"))
            seen = {"photographs": prepared.counts["train"], "photographs_seen": state.step * config.batch_size}
            summary = asdict(config) | seen | {"metrics": metrics}
            for private in ("source", "storage", "config", "reviewed"):  # paths and buckets of whoever trained
                del summary[private]
            summary["weights"] = config.weights and PurePath(config.weights).stem
            packed = network.pack_weights(state.average, config.network, config.network_settings, config.size, summary)
            Path(folder, "weights.safetensors").write_bytes(packed)
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))

    def validated() -> dict:
        if workers > 1:  # each worker has seen other batches; validate, and store, with the first one's batch norms
            for buffer in [*state.network.buffers(), *state.average.buffers()]:
                torch.distributed.broadcast(buffer, 0)
        share = stream.validation_batches(prepared, "validation", order.share, config.size, rank, workers)
        loss, mse, count = summed(training.validate(state.average, share, state.objective, device)).tolist()
        return {"loss": loss / count, "mse": mse / count}

    weights = config.weights_of(prepared.groups)
    pace = _Pace(config.epochs * order.steps, order.share * workers)
    saved_at = time.monotonic()
    losses: list[torch.Tensor] = []  # of the steps since the last tick
    hinted = config.network_settings.get("hints", False) * config.hinted
    for batch in stream.batches(
        prepared, order, state.step, config.epochs, weights, config.size, config.crop_area, config.aged, hinted
    ):
        if pace.first < 0:
            pace.begin(state.step)
        rate = state.learning_rate
        losses.append(state(*batch))
        ends = state.step % order.steps == 0
        if state.step % TICK and not ends:
            continue
        late = rank == 0 and time.monotonic() - saved_at > 60 * config.checkpoint_minutes
        clock = torch.tensor(float(late), dtype=torch.float64, device=device)
        loss, late = summed(torch.stack([torch.stack(losses).sum().double(), clock]))
        loss = loss.item() / workers
        if not math.isfinite(loss):  # on every worker at once; a failure would be tried again
            if rank == 0:
                problem = (
                    f"the loss is no longer finite at step {state.step}: lower --learning-rate, under a new --name"
                )
                lines.put(UsageError(problem))
            return
        recent = {"steps": recent["steps"] + len(losses), "loss": recent["loss"] + loss}
        if rank == 0 and (line := pace.line(state.step, order.steps, loss / len(losses))):
            lines.put(line)
        losses.clear()
        if ends or recent["steps"] >= order.steps / ROWS_PER_EPOCH:
            row = {"epoch": state.step / order.steps, "step": state.step, "time": time.time()}
            row |= {"train_loss": recent["loss"] / recent["steps"], "learning_rate": rate}
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
            history.append(row | {"images_per_second": pace.rate(state.step), "memory_mb": peak})
            recent = {"steps": 0, "loss": 0.0}
        if ends:
            history[-1] |= validated()
            if rank == 0:
                _write_down(settings["run"], history, state.average, prepared, config.size, state.step // order.steps)
                lines.put("  ".join(f"{k} {v:.5g}" for k, v in history[-1].items() if k != "time"))
        if ends or late:
            row = history[-1] if ends else {"step": state.step}
            save(row | {"score": -row["loss"] if ends else NOT_VALIDATED})
            saved_at = time.monotonic()
        if ends:
            pace.begin(state.step)


@torch.inference_mode()
def _write_down(run: str, history: list[dict], model, prepared: shards.Prepared, size: int, epoch: int) -> None:
    """What is looked at after an epoch: the logbook, and the same validation photographs as after every other."""
    logbook.write(run, history)
    images = prepared.take(prepared.stretch("validation")[:SHEET])["image"].to_pylist()
    rows = []
    for image in images:
        truth = training.centre_square(training.decode(image), size)
        grey = color.grey_of(truth)
        lightness = torch.from_numpy(color.lightness(grey))[None, None]
        ab = model.chroma(model.eval()(lightness.to(next(model.parameters()).device)).float())
        rows.append([grey, color.merge(grey, ab[0].permute(1, 2, 0).cpu().numpy()), truth])
    sheet = io.BytesIO()
    contact_sheet(["grey", f"epoch {epoch}", "truth"], rows).save(sheet, "JPEG", quality=92)
    files.write_bytes(f"{run}/{logbook.sheet(epoch)}", sheet.getvalue())


class _Pace:
    """Where the run is, its speed in this epoch, and the time left."""

    def __init__(self, steps: int, photographs: int):
        self.steps, self.photographs = steps, photographs
        self.shown = time.monotonic()
        self.first = -1
        """The step that is timed from; -1 before the first batch is there."""

    def begin(self, step: int) -> None:
        """Time the steps from here: the epoch's, or what a resumed run does of it."""
        self.first, self.began = step, time.monotonic()

    def rate(self, step: int) -> float:
        """Photographs per second, over all workers."""
        return (step - self.first) * self.photographs / (time.monotonic() - self.began)

    def line(self, step: int, steps_per_epoch: int, loss: float) -> str | None:
        """For the log, every 15 seconds."""
        if time.monotonic() - self.shown < 15:
            return None
        self.shown = time.monotonic()
        epoch, within = divmod(step - 1, steps_per_epoch)
        left = (self.steps - step) * self.photographs / self.rate(step)
        return (
            f"epoch {epoch + 1}/{self.steps // steps_per_epoch} step {within + 1}/{steps_per_epoch} loss {loss:.5f} "
            f"{self.rate(step):.0f} photographs/s, {left / 60:.0f} minutes left"
        )
