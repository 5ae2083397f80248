"""The training job: two workers, a checkpoint, the same command again."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

from colorize_core import training
from colorize_core.colorizer import Colorizer
from jobs import shards, train
from jobs.cluster import UsageError
from jobs.sources import list_sources


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """60 colour crops, a grey one and an unreadable one, in a folder."""
    folder = tmp_path_factory.mktemp("photographs")
    pictures = [getattr(data, name)() for name in ("astronaut", "chelsea", "coffee")]
    for i in range(60):
        picture, offset = pictures[i % 3], 4 * (i // 3)
        Image.fromarray(picture[offset : offset + 96, offset : offset + 128]).save(folder / f"{i:02d}.png")
    Image.fromarray(data.camera()).save(folder / "grey.png")
    (folder / "unreadable.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def config(photographs, storage, **options) -> train.TrainConfig:
    small = {"size": 64, "batch_size": 8, "validation": 0.2, "name": "run", "epochs": 8, "workers": 2}
    return train.TrainConfig(source=str(photographs), storage=str(storage), **(small | options))


@pytest.fixture(scope="module")
def run(ray_local, photographs, tmp_path_factory) -> Path:
    """A run of eight short epochs whose driver was killed in an early one, and continued by the same command."""
    storage = tmp_path_factory.mktemp("runs")
    options = "--size 64 --batch-size 8 --validation 0.2 --name run --epochs 8 --workers 2"
    command = [sys.executable, "-m", "jobs.train", str(photographs), "--storage", str(storage), *options.split()]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        lines = takewhile(lambda line: not line.startswith("epoch 2 "), process.stdout)
        killed = list(lines)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert any(line.startswith("epoch 1 ") for line in killed), killed
    assert not (storage / "run/weights.safetensors").exists()
    shards = {path: path.stat().st_mtime_ns for path in storage.glob("run/data/*/*.parquet")}

    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert train.main(config(photographs, storage)) == 0
    assert "epoch 8/8" in output.getvalue() and "epoch 1/8" not in output.getvalue(), "it began anew"
    assert {path: path.stat().st_mtime_ns for path in shards} == shards, "the photographs were prepared again"
    return storage / "run"


def summary(run: Path) -> dict:
    return Colorizer.load(str(run / "weights.safetensors"), "cpu").config


def test_photographs_are_prepared_once_and_split(run, photographs):
    counts = json.loads((run / "data/summary.json").read_text())["counts"]
    assert counts["left_out"] == {"grey": 1, "unreadable": 1}
    assert counts["train"] + counts["validation"] == 60 and counts["validation"] > 3
    for split in ("train", "validation"):
        table = pq.read_table(run / "data" / split)
        assert table.num_rows == counts[split]
        lightness, _ = training.examples(table["image"].to_pylist(), 64)
        assert lightness.std() > 5


def test_a_run_leaves_weights_that_colour(run):
    header = summary(run)
    assert header["network"] == "resnet18" and header["input_side"] == 64
    assert header["training"]["metrics"]["epoch"] in range(1, 9) and header["training"]["workers"] == 2
    assert not any(str(run.parent) in str(value) for value in header["training"].values()), "a path of this machine"
    colorizer = Colorizer.load(str(run / "weights.safetensors"), "cpu")
    assert np.isfinite(colorizer.predict([data.camera()])[0]).all()


def test_a_killed_run_continues_and_keeps_only_the_best_and_the_newest(run):
    assert len(list(run.glob("checkpoint_2*"))) <= 2
    assert sorted(path.name for path in (run / "data").iterdir()) == ["summary.json", "train", "validation"]


def test_another_source_needs_another_name(run, samples):
    with pytest.raises(UsageError, match="choose another --name"):
        train.main(config(samples / "originals", run.parent))


def test_parquet_shards_are_read_too(ray_local, photographs, tmp_path):
    images = [path.read_bytes() for path in sorted(photographs.glob("*.png"))]
    pq.write_table(pa.table({"image": images[:30]}), tmp_path / "bytes.parquet")
    nested = [{"bytes": image, "path": None} for image in images[30:]]
    pq.write_table(pa.table({"image": pa.array(nested)}), tmp_path / "hugging-face.parquet")
    counts = shards.prepare(str(tmp_path), list_sources(f"{tmp_path}/*.parquet"), f"{tmp_path}/data", 64, 0.2)
    assert counts["train"] + counts["validation"] == 60
    assert counts["left_out"] == {"grey": 1}


def test_what_cannot_be_trained_on_is_said(ray_local, tmp_path):
    Image.fromarray(data.camera()).save(tmp_path / "grey.png")
    with pytest.raises(UsageError, match=r"leaves no photographs for the train split.*'grey': 1"):
        train.main(config(tmp_path, tmp_path / "runs"))
    shards = tmp_path / "shards"
    shards.mkdir()
    pq.write_table(pa.table({"picture": [b"x"]}), shards / "a.parquet")
    with pytest.raises(UsageError, match="without a column called image"):
        train.main(config(shards, tmp_path / "runs"))
