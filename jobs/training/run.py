"""A run: its folder in the storage, and its workers from the start, or the last checkpoint, to the end."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from jobs import cli, cluster
from jobs.cli import UsageError
from jobs.storage.files import absolute, file_system, read_bytes, write_bytes
from jobs.training import logbook, shards, stream
from jobs.training.config import TrainConfig
from jobs.training.finish import calibrated, measured, remove_leftovers
from jobs.training.loop import train_worker

# When a run is continued.
MAY_CHANGE = {"epochs", "workers", "gpus", "wait", "checkpoint_minutes", "max_failures"}
MAY_CHANGE |= {"note", "storage", "config", "input_side"}
# glibc gives the memory of large tensors back to the system after each step and takes page faults to get it again, a
# fifth of the time of a step on a CPU; this keeps it.
KEEP_MEMORY = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296"}
SETTINGS, WEIGHTS = "settings.json", "weights.safetensors"


def is_finished(run: str, config: TrainConfig, prepared: shards.Prepared) -> bool:
    fs, root = file_system(run)
    if not fs.exists(f"{root}/{WEIGHTS}"):
        return False
    order = stream.Order(prepared.counts["train"], config.batch_size, config.seed)
    return logbook.read(run)[-1]["step"] >= order.steps * config.epochs


def lasting(config: TrainConfig) -> dict:
    """The settings that a run keeps to its end."""
    return json.loads(json.dumps({key: value for key, value in asdict(config).items() if key not in MAY_CHANGE}))


def check_run(run: str, config: TrainConfig) -> bool:
    """Whether the run was begun before, and so its folder is ours. Raises ``UsageError`` where its settings differ."""
    try:
        before = json.loads(read_bytes(f"{run}/{SETTINGS}"))
    except FileNotFoundError:
        before = {}
    for key, value in lasting(config).items():
        if before and value != (absolute(before.get(key, "")) if key == "source" else before.get(key)):
            raise UsageError(
                f"the run {run} was begun with --{key.replace('_', '-')} {before.get(key)}, not {value}: choose "
                "another --name for a new run (--weights starts from this one's), or the same settings"
            )
    return bool(before)


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
            # Ray Train V2 runs, and takes a range here and worker_runtime_env below; type checkers see V1.
            num_workers=fewest if fewest == most else (fewest, most),  # type: ignore[arg-type]
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": 1, "GPU": gpus} if gpus else None,
        ),
        run_config=RunConfig(  # type: ignore[call-arg]
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
    checkpoints = result.best_checkpoints
    assert checkpoints, "every epoch ends with one"
    best, metrics = max(checkpoints, key=lambda pair: pair[1]["score"])
    with best.as_directory() as folder:
        weights = Path(folder, "weights.safetensors").read_bytes()
    calibration = ray.remote(num_cpus=1, num_gpus=gpus)(calibrated)
    write_bytes(f"{run}/{WEIGHTS}", ray.get(calibration.remote(weights, prepared, config)))
    logbook.write_page(run, logbook.read(run))
    remove_leftovers(run, {Path(checkpoint.path).name for checkpoint, _ in checkpoints})
    print("best:", "  ".join(f"{key} {metrics[key]:.5g}" for key in ("epoch", "loss", "mse")))
    if prepared.counts["test"]:
        test = ray.remote(num_cpus=1, num_gpus=gpus)(measured)
        loss, mse = ray.get(test.remote(weights, prepared, config, "test"))
        print(f"test: loss {loss:.5g}  mse {mse:.5g}")
    print(f"weights: {run}/{WEIGHTS}")
    return cli.OK


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
