"""The training job: killed and continued, on two workers or one, on S3 or this machine's disk."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from queue import SimpleQueue

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image
from ray.util.queue import Queue
from skimage import data
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from colorize_core import network
from colorize_core.colorizer import Colorizer
from colorize_core.distribution import Calibration
from colorize_core.network import pack_weights
from jobs import average, cli, train
from jobs.cli import UsageError
from jobs.training import shards
from jobs.training.config import TrainConfig
from jobs.training.finish import calibrated
from jobs.training.loop import train_worker
from jobs.training.run import _printed

HALF_WRITTEN = "checkpoint_2026-11-28_10-00-00.123456"
# Two epochs of 29 steps, and a checkpoint every ten steps too. The batch norms keep their statistics, so the number
# of workers makes no difference.
OPTIONS = "--size 64 --input-side 96 --batch-size 8 --split 232/20/8 --epochs 2 --checkpoint-minutes 0"
OPTIONS = [*OPTIONS.split(), "--network", "resnet18", "--weights", "resnet18", "--freeze-batch-norm"]

LOOKS = "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"
"""Between two looks of Ray's at its workers, of which every checkpoint waits for one: 2 s, where it is not set."""


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LOOKS, "0.1")
        yield


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """260 colour crops in a folder."""
    folder = tmp_path_factory.mktemp("photographs")
    pictures = [getattr(data, name)() for name in ("astronaut", "chelsea", "coffee")]
    for i in range(260):
        picture, offset = pictures[i % 3], 2 * (i // 3)
        Image.fromarray(picture[offset : offset + 96, offset : offset + 128]).save(folder / f"{i:02d}.png")
    return folder


def run_train(*arguments) -> str:
    """The job in this process, on the tests' Ray; what it prints."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), pytest.raises(SystemExit) as exit:
        cli.command_line(train.app, [str(argument) for argument in arguments])
    assert exit.value.code == 0, output.getvalue()
    return output.getvalue()


@pytest.fixture(scope="module")
def undisturbed(ray_local, s3_endpoint, photographs, tmp_path_factory) -> Path:
    """A copy of a run that went from S3 to S3."""
    s3 = fsspec.filesystem("s3")
    s3.mkdir("training")
    for path in photographs.iterdir():
        s3.pipe_file(f"training/photographs/{path.name}", path.read_bytes())
    arguments = ["--storage", "s3://training/runs", "--name", "run", "--workers", 2, *OPTIONS]
    printed = run_train("s3://training/photographs", *arguments)
    assert "weights: s3://training/runs/run/weights.safetensors" in printed and "test: loss" in printed
    storage = tmp_path_factory.mktemp("undisturbed")
    s3.get("training/runs/run", str(storage), recursive=True)
    return storage / "run"


@pytest.fixture(scope="module")
def disturbed(photographs, undisturbed, tmp_path_factory) -> Path:
    """The same run; the driver is killed within an epoch, and the same command continues it. (That a run goes on by
    itself where workers are lost, test_cluster shows.)"""
    storage = tmp_path_factory.mktemp("disturbed")
    arguments = [str(photographs), "--storage", str(storage), "--name", "run", "--workers", "2", *OPTIONS]
    command = [sys.executable, "-m", "jobs.train", *arguments]
    slowly = os.environ | {LOOKS: "0.5"}  # so that some of the epoch is left when it is killed
    process = subprocess.Popen(command, env=slowly, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 600
    try:
        while newest_step(storage / "run") not in (30, 40, 50):
            assert process.poll() is None and time.monotonic() < deadline, "no checkpoint within an epoch"
            time.sleep(0.01)
    finally:
        subprocess.run(["pkill", "-KILL", "-s", str(process.pid)], check=False)  # Ray's processes too
        process.wait()
    assert newest_step(storage / "run") in (30, 40, 50), "too late to be within an epoch"
    assert not (storage / "run/weights.safetensors").exists()
    (storage / f"run/{HALF_WRITTEN}").mkdir()  # as a kill during an upload leaves it
    printed = run_train(*arguments)
    assert "epoch 2 " in printed and "epoch 1 " not in printed, "it did not continue"
    return storage / "run"


def newest_step(run: Path) -> int:
    """Of the newest checkpoint; 0 where there is none."""
    try:
        snapshot = json.loads((run / "checkpoint_manager_snapshot.json").read_text())
    except (OSError, ValueError):  # not there yet, or being written
        return 0
    return snapshot["latest_checkpoint_result"]["metrics"]["step"]


def history(run: Path, key: str) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row[key] for row in rows if key in row]


def test_a_killed_run_ends_where_an_undisturbed_one_ends(undisturbed, disturbed):
    assert history(disturbed, "step") == history(undisturbed, "step") and history(disturbed, "step")[-1] == 58
    assert history(disturbed, "loss") == pytest.approx(history(undisturbed, "loss"), rel=1e-3)
    assert history(disturbed, "train_loss") == pytest.approx(history(undisturbed, "train_loss"), rel=1e-3)
    assert not any(path.name == HALF_WRITTEN for path in disturbed.iterdir())
    assert sorted({path.name.split("_")[0].split(".")[0] for path in disturbed.iterdir()} - {""}) == sorted(
        {path.name.split("_")[0].split(".")[0] for path in undisturbed.iterdir()} - {""}
    )
    assert len(list(disturbed.glob("checkpoint_2*"))) <= 2, "only the newest and the best are kept"


def train_here(undisturbed, run: Path, **changes) -> list:
    """What one worker does, in this process; what it says to the driver."""
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    settings = json.loads((undisturbed / "settings.json").read_text())
    settings |= {"only": (), "storage": "", "epochs": 2} | changes
    settings = {"config": settings, "prepared": shards.read(str(undisturbed / "data")), "run": str(run)}
    said = SimpleQueue()
    loop = {"train_loop_config": settings | {"lines": said}, "scaling_config": ScalingConfig(num_workers=0)}
    TorchTrainer(train_worker, **loop).fit()
    return [said.get() for _ in range(said.qsize())]


def test_two_workers_with_half_the_batch_each_are_one(undisturbed, tmp_path):
    train_here(undisturbed, tmp_path / "one")
    for name in ("train_loss", "loss", "mse"):
        assert history(tmp_path / "one", name) == pytest.approx(history(undisturbed, name), rel=5e-3)
    assert np.ptp(history(undisturbed, "loss")) > 0.1 * np.mean(history(undisturbed, "loss"))


def test_a_loss_that_explodes_is_said_and_ends_the_run(undisturbed, tmp_path):
    options = {"clip": 0.0, "learning_rate": 1e30, "schedule": "constant"}
    (said,) = train_here(undisturbed, tmp_path / "exploded", **options)
    assert isinstance(said, UsageError) and "no longer finite at step 10: lower --learning-rate" in str(said)
    queue = Queue(actor_options={"num_cpus": 0})
    with pytest.raises(UsageError, match="no longer finite"), _printed(queue):
        queue.put(said)


def test_a_run_leaves_weights_that_colour(undisturbed):
    colorizer = Colorizer.load(str(undisturbed / "weights.safetensors"), "cpu")
    header = colorizer.file.config
    assert header["network"] == "resnet18" and header["input_side"] == 96
    assert header["training"]["metrics"]["loss"] == min(history(undisturbed, "loss"))
    assert header["training"]["workers"] == "2" and header["training"]["photographs"] == 232
    assert header["training"]["photographs_seen"] in (232, 464)
    assert not any(str(undisturbed.parent) in str(value) for value in header["training"].values()), "a path of ours"
    assert np.isfinite(colorizer.predict([data.camera()])[0].chroma[0]).all()
    (best,) = undisturbed.glob("checkpoint_*/state.pt")
    for name, trained in torch.load(best, weights_only=True)["average"].items():
        np.testing.assert_allclose(colorizer.file.tensors[name], trained.numpy(), rtol=1e-3, atol=1e-6, err_msg=name)


def test_a_run_can_be_watched(undisturbed):
    assert Image.open(undisturbed / "learning-curve.png").width > 500
    sheets = sorted((undisturbed / "sheets").iterdir())
    assert [sheet.name for sheet in sheets] == [f"epoch-{epoch:04d}.jpg" for epoch in range(1, 3)]
    assert Image.open(sheets[0]).width > 3 * 64
    page = (undisturbed / "index.html").read_text()
    pictures = ["learning-curve.png", "sheets/epoch-0002.jpg", "sheets/epoch-0001.jpg"]
    assert re.findall('src="(.*?)"', page) == pictures
    events = read_events((undisturbed / "tensorboard/events.out.tfevents.colorize").read_bytes())
    charted = [value.simple_value for event in events for value in event.summary.value if value.tag == "loss"]
    assert charted == pytest.approx(history(undisturbed, "loss"))


def read_events(content: bytes) -> list[Event]:
    """TensorBoard's records: length, checksum, event, checksum."""
    events = []
    while content:
        length = int.from_bytes(content[:8], "little")
        assert int.from_bytes(content[8:12], "little") == masked_crc32c(content[:8])
        events.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return events


def test_a_finished_run_does_nothing(undisturbed):
    before = (undisturbed / "metrics.jsonl").stat().st_mtime_ns
    arguments = ["--storage", undisturbed.parent, "--name", "run", "--workers", 2, *OPTIONS]
    printed = run_train("s3://training/photographs", *arguments)
    assert "all 2 epochs are done" in printed and "step" not in printed
    assert (undisturbed / "metrics.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "setting, value", [("source", "other"), ("upsampling", "deconv"), ("batch_size", 16), ("split", "0.5/0.5/0")]
)
def test_a_run_is_not_continued_with_other_settings(undisturbed, photographs, setting, value):
    settings = json.loads((undisturbed / "settings.json").read_text())
    settings |= {"only": tuple(settings["only"]), "storage": str(undisturbed.parent)}
    if setting == "source":
        value = str(photographs.parent)
    with pytest.raises(UsageError, match="choose"):
        train.main(TrainConfig(**settings | {setting: value}))


def test_a_network_that_gives_a_distribution_is_calibrated(undisturbed, tmp_path):
    prepared = shards.read(str(undisturbed / "data"))
    config = TrainConfig(source="", storage="", network="lite0", size=64)
    torch.manual_seed(0)
    model = network.build("lite0", **config.network_settings)
    packed = pack_weights(model, "lite0", config.network_settings, 64, {})
    (tmp_path / "a.safetensors").write_bytes(calibrated(packed, prepared, config))
    assert Colorizer.load(str(tmp_path / "a.safetensors"), "cpu").calibration != Calibration()


def test_weights_without_hints_may_start_a_network_that_takes_them_and_not_the_other_way_round(tmp_path):
    for name, settings in (("old", {}), ("new", {"hints": True})):
        packed = pack_weights(network.build("lite0", **settings), "lite0", settings, 64, {})
        (tmp_path / f"{name}.safetensors").write_bytes(packed)
    options = {"source": "", "storage": "", "network": "lite0"}
    train._check_start(str(tmp_path / "old.safetensors"), TrainConfig(**options))
    with pytest.raises(UsageError, match=r"take hints.*give a --hinted above 0"):
        train._check_start(str(tmp_path / "new.safetensors"), TrainConfig(**options, hinted=0.0))


def test_weights_are_averaged_measured_and_calibrated(undisturbed, tmp_path):
    paths = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        paths.append(tmp_path / f"{seed}.safetensors")
        paths[-1].write_bytes(pack_weights(network.build("lite0"), "lite0", {}, 64, {"photographs": 7}))
    output = tmp_path / "mean.safetensors"
    shares = ["--shares", "3", "1", "--run", str(undisturbed), "--output", str(output)]
    with pytest.raises(SystemExit) as exit:
        cli.command_line(average.app, [*map(str, paths), *shares])
    assert exit.value.code == cli.OK
    first, second, mean = (Colorizer.load(str(path), "cpu") for path in (*paths, output))
    weights = [model.file.tensors["head.weight"] for model in (first, second, mean)]
    assert np.allclose(weights[2], 0.75 * weights[0] + 0.25 * weights[1], atol=1e-3)
    assert mean.calibration != Calibration()
    summary = mean.file.config["training"]
    assert [part["share"] for part in summary["average_of"]] == [0.75, 0.25] and summary["metrics"]["loss"] > 0
    assert summary["average_of"][1]["weights"] == second.file.model and summary["photographs"] == 7
    assert str(tmp_path) not in json.dumps(mean.file.config), "no paths of whoever trained"


@pytest.mark.parametrize(
    "weights, run, hint",
    [
        (["default"], "", "two or more"),
        (["default", "resnet18"], "", "of one network"),
        (["default", "default"], "nowhere", "not the folder of a run"),
    ],
)
def test_an_average_says_what_it_does_not_take(undisturbed, weights, run, hint):
    with pytest.raises(UsageError, match=hint):
        average.main(average.AverageConfig(weights=tuple(weights), run=run or str(undisturbed), output="x"))


def test_a_run_leaves_nothing_else(undisturbed):
    left = {path.name.split("_")[0] for path in undisturbed.iterdir()} - {"", ".validate", "checkpoint"}
    made = {
        "colorize.json",
        "data",
        "index.html",
        "learning-curve.png",
        "metrics.jsonl",
        "settings.json",
        "sheets",
        "tensorboard",
    }
    assert left == made | {"weights.safetensors"}


def test_photographs_are_never_taken_for_a_run(tmp_path):
    """STORAGE/NAME/data may be somebody's folder of originals."""
    originals = tmp_path / "flowers/data"
    originals.mkdir(parents=True)
    for i in range(3):
        (originals / f"{i}.png").write_bytes(b"mine")

    def refused(source, name: str, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            train.main(TrainConfig(source=str(source), storage=str(tmp_path), name=name))
        assert [path.read_bytes() for path in sorted(originals.iterdir())] == [b"mine"] * 3

    refused(originals, "flowers", "is inside .*, or around it")
    refused(tmp_path, "flowers", "is inside .*, or around it")
    refused(tmp_path, "runs", "is inside .*, or around it")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.png").write_bytes(b"x")
    refused(tmp_path / "elsewhere", "flowers", "is there already, and was not made by this program")
