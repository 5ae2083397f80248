"""Train a colorizer, data-parallel, on colour photographs.

    python -m jobs.train PHOTOS --storage runs                    # this machine
    ray job submit --working-dir . -- python -m jobs.train s3://bucket/photos --storage s3://bucket/runs --workers 8

Each photograph is decoded, checked and resized once, into Parquet shards under STORAGE/NAME/data. Every
epoch streams them through Ray Data to the workers (DistributedDataParallel), validates, and stores a
checkpoint. The best checkpoint's weights end up in STORAGE/NAME/weights.safetensors. The same command
continues a run that was interrupted.
"""

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
import tyro
from fsspec.core import url_to_fs

from colorize_core import colorizer, network, training
from colorize_core.network import Upsampling
from colorize_core.objective import Objective
from jobs import cluster, shards, sources
from jobs.cluster import UsageError

SHUFFLE_BUFFER = 4096  # photographs, as JPEG bytes


@dataclass(kw_only=True, slots=True)
class TrainConfig:
    """Train a colorizer on colour photographs."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SOURCE")]
    """Folder, file or glob of colour photographs, or of Parquet shards with an `image` column of encoded bytes
    (or of Hugging Face's {bytes, path}); local or any fsspec URI."""
    storage: Annotated[str, tyro.conf.arg(metavar="DIR")]
    """Folder or URI that keeps the run: prepared data, checkpoints, weights."""
    name: str = "colorizer"
    """Name of the run, a folder in the storage. The same name continues the run."""
    network: str = "resnet18"
    """Network to train, one of colorize_core.network.NETWORKS."""
    upsampling: Upsampling = "nearest"
    """How the decoder doubles its size."""
    pretrained: bool = False
    """Start the encoder from torchvision's ImageNet weights (downloads them)."""
    weights: Annotated[str | None, tyro.conf.arg(metavar="START")] = None
    """Start from these weights: `default`, a path, or a URI."""
    workers: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Data-parallel workers; by default one per GPU, or one that uses every core."""
    epochs: int = 20
    batch_size: int = 32
    """Photographs per step, over all workers together."""
    learning_rate: float = 1e-3
    """Peak of the schedule (5 % warm-up, then cosine), for AdamW."""
    objective: Objective = "huber"
    size: int = 224
    """Side of the square crops the network sees, in pixels."""
    validation: Annotated[float, tyro.conf.arg(metavar="FRACTION")] = 0.05
    """Share of the photographs kept for validation, chosen by a hash of the file's bytes."""
    seed: int = 0
    note: str = ""
    """A sentence about the photographs, kept in the header of the weights."""

    def __post_init__(self):
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers must be at least 1, not {self.workers}")
        if self.epochs < 1 or self.batch_size < (self.workers or 1):
            raise UsageError("--epochs must be at least 1, and --batch-size at least the number of workers")
        if self.size < 32 or self.size % 32:
            raise UsageError(f"--size must be a multiple of 32, not {self.size}")
        if not 0 < self.validation < 1:
            raise UsageError(f"--validation must lie between 0 and 1, not {self.validation}")

    @property
    def network_settings(self) -> dict:
        """What ``network.build`` takes to make this network again, without a download."""
        return {"upsampling": self.upsampling}


def main(config: TrainConfig) -> int:
    try:
        network.build(config.network, **config.network_settings, pretrained=config.pretrained)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    if config.weights:
        _check_start(config)
    files = sources.list_sources(config.source)
    storage = sources.absolute(config.storage)
    run = f"{storage}/{config.name}"
    cluster.start()
    counts = shards.prepare(config.source, files, f"{run}/data", config.size, config.validation)
    print(
        f"{counts['train']:,} photographs to train on, {counts['validation']:,} to validate on; "
        f"left out: {', '.join(f'{n:,} {why}' for why, n in counts['left_out'].items()) or 'none'}",
        flush=True,
    )
    return fit(config, storage, run, counts)


def _check_start(config: TrainConfig) -> None:
    start = colorizer.Colorizer.load(config.weights, "cpu").config
    if (start["network"], start["settings"]) != (config.network, config.network_settings):
        raise UsageError(
            f"the weights {config.weights} are of network {start['network']} {start['settings']}, not of "
            f"{config.network} {config.network_settings}: choose the same --network and settings"
        )


def fit(config: TrainConfig, storage: str, run: str, counts: dict) -> int:
    import ray
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.util.queue import Queue

    gpus = int(ray.cluster_resources().get("GPU", 0))
    workers = config.workers or max(1, gpus)
    if counts["train"] < config.batch_size:
        raise UsageError(
            f"{counts['train']} photographs do not fill one batch of {config.batch_size}: lower --batch-size"
        )
    # The newer reader lists the files anew every epoch, in processes of its own: ten seconds each time on two cores.
    ray.data.DataContext.get_current().use_datasource_v2 = False
    lines = Queue(actor_options={"num_cpus": 0})
    settings = {"config": asdict(config), "photographs": counts["train"], "data": f"{run}/data", "lines": lines}
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config=settings,
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus > 0),
        run_config=RunConfig(
            name=config.name,
            storage_path=storage,
            failure_config=FailureConfig(max_failures=3),
            checkpoint_config=CheckpointConfig(
                num_to_keep=1, checkpoint_score_attribute="loss", checkpoint_score_order="min"
            ),
        ),
        datasets={"train": ray.data.read_parquet(f"{run}/data/train")},
    )
    with _printed(lines):
        result = trainer.fit()
    best = min(result.best_checkpoints, key=lambda pair: pair[1]["loss"])
    with best[0].as_directory() as folder:
        weights = Path(folder, "weights.safetensors").read_bytes()
    sources.write_bytes(f"{run}/weights.safetensors", weights)
    metrics = {key: round(value, 6) for key, value in best[1].items() if key in ("epoch", "loss", "mse")}
    print(f"best: {metrics}\nweights: {run}/weights.safetensors")
    return cluster.OK


@contextlib.contextmanager
def _printed(lines) -> Iterator[None]:
    """Print what workers put into a queue, as it comes: their own output is drowned in Ray's."""
    from ray.util.queue import Empty

    done = threading.Event()

    def relay():
        while not done.is_set() or not lines.empty():
            with contextlib.suppress(Empty):
                print(lines.get(timeout=1), flush=True)

    thread = threading.Thread(target=relay)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        lines.shutdown()


def _train_worker(settings: dict) -> None:
    import ray.train
    import ray.train.torch
    import torch.distributed

    config = TrainConfig(**settings["config"])
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    if device.type == "cpu":  # Ray gives a worker as many threads as it reserves CPUs; use the whole machine
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // context.get_local_world_size()))
    torch.manual_seed(config.seed)

    model = network.build(config.network, **config.network_settings, pretrained=config.pretrained)
    if config.weights:
        model.load_state_dict(colorizer.Colorizer.load(config.weights, "cpu").network.state_dict())
    model = model.to(device, memory_format=torch.channels_last)
    batch = config.batch_size // workers
    steps = settings["photographs"] // workers // batch
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=0.01)
    schedule = training.warmup_cosine(optimizer, steps * config.epochs)
    first = 0
    if checkpoint := ray.train.get_checkpoint():
        with checkpoint.as_directory() as folder:
            state = torch.load(Path(folder, "state.pt"), map_location="cpu", weights_only=True)
        model.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first = state["epoch"]
    wrapped = ray.train.torch.prepare_model(model)

    for epoch in range(first, config.epochs):
        started = time.monotonic()
        progress = _Progress(epoch, config.epochs, steps, workers, settings["lines"].put)
        train_loss = training.train_epoch(
            wrapped, _training_batches(batch, config, epoch), optimizer, schedule, config.objective, device,
            progress if rank == 0 else lambda loss, photographs: None,
        )  # fmt: skip
        seconds = time.monotonic() - started
        if workers > 1:  # each worker has seen other batches; validate, and store, with rank 0's batch norms
            for buffer in model.buffers():
                torch.distributed.broadcast(buffer, 0)
        validation = _validation_batches(f"{settings['data']}/validation", batch, config.size, rank, workers)
        sums = training.validate(model, validation, config.objective, device).to(device)
        if workers > 1:
            torch.distributed.all_reduce(sums)
        loss, mse, _ = (sums / sums[2]).tolist()
        metrics = {"epoch": epoch + 1, "train_loss": train_loss, "loss": loss, "mse": mse}
        metrics["images_per_second"] = steps * batch * workers / seconds
        if rank:
            ray.train.report(metrics)
            continue
        settings["lines"].put("  ".join(f"{key} {value:.5g}" for key, value in metrics.items()))
        with tempfile.TemporaryDirectory() as folder:
            state = {"network": model.state_dict(), "optimizer": optimizer.state_dict()}
            state |= {"schedule": schedule.state_dict(), "epoch": epoch + 1}
            torch.save(state, Path(folder, "state.pt"))
            summary = asdict(config) | {"photographs": settings["photographs"], "metrics": metrics}
            for private in ("source", "storage"):  # paths and buckets of whoever trained
                del summary[private]
            packed = colorizer.pack_weights(model, config.network, config.network_settings, config.size, summary)
            Path(folder, "weights.safetensors").write_bytes(packed)
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _training_batches(batch: int, config: TrainConfig, epoch: int):
    """This worker's share of one epoch: (L*, ab) batches, shuffled and augmented, all of the same size."""
    import ray.train

    return ray.train.get_dataset_shard("train").iter_torch_batches(
        batch_size=batch,
        prefetch_batches=2,
        drop_last=True,
        local_shuffle_buffer_size=SHUFFLE_BUFFER,
        local_shuffle_seed=config.seed + epoch,
        collate_fn=lambda rows: training.examples(rows["image"], config.size, (config.seed, epoch)),
    )


def _validation_batches(folder: str, batch: int, size: int, rank: int, workers: int):
    """This worker's share of the validation set: (L*, ab) batches, not augmented; the shares are disjoint."""
    fs, root = url_to_fs(folder)
    for path in sorted(fs.ls(root, detail=False)):
        with fs.open(path, "rb") as file:
            for i, rows in enumerate(pq.ParquetFile(file).iter_batches(batch)):
                if i % workers == rank:
                    yield training.examples(rows["image"].to_pylist(), size)


class _Progress:
    """A line every 15 seconds: where the run is, its loss and speed, and the time left."""

    def __init__(self, epoch: int, epochs: int, steps: int, workers: int, show: Callable[[str], None]):
        self.show = show
        self.epoch, self.epochs, self.steps, self.workers = epoch, epochs, steps, workers
        self.step = self.photographs = 0
        self.started = self.shown = time.monotonic()

    def __call__(self, loss: float, photographs: int) -> None:
        self.step += 1
        self.photographs += photographs * self.workers
        now = time.monotonic()
        if now - self.shown < 15 and self.step < self.steps:
            return
        self.shown = now
        rate = self.step / (now - self.started)
        left = ((self.epochs - self.epoch) * self.steps - self.step) / rate
        self.show(
            f"epoch {self.epoch + 1}/{self.epochs} step {self.step}/{self.steps} loss {loss:.5f} "
            f"{self.photographs / (now - self.started):.0f} photographs/s, {left / 60:.0f} minutes left"
        )


if __name__ == "__main__":
    cluster.command_line(main, TrainConfig, "jobs.train")
