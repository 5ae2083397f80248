"""The training job: two workers, a checkpoint, the same command again."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

from colorize_core import training
from colorize_core.colorizer import Colorizer
from jobs import train
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
    small = {"size": 64, "batch_size": 8, "validation": 0.2, "name": "run", "epochs": 1, "workers": 2}
    return train.TrainConfig(source=str(photographs), storage=str(storage), **(small | options))


@pytest.fixture(scope="module")
def run(ray_local, photographs, tmp_path_factory) -> Path:
    storage = tmp_path_factory.mktemp("runs")
    assert train.main(config(photographs, storage)) == 0
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
    assert header["training"]["metrics"]["epoch"] == 1 and header["training"]["workers"] == 2
    assert not any(str(run.parent) in str(value) for value in header["training"].values()), "a path of this machine"
    colorizer = Colorizer.load(str(run / "weights.safetensors"), "cpu")
    assert np.isfinite(colorizer.predict([data.camera()])[0]).all()


def test_the_same_command_continues(run, photographs, capfd):
    shards = {path: path.stat().st_mtime_ns for path in run.glob("data/*/*.parquet")}
    assert train.main(config(photographs, run.parent, epochs=2)) == 0
    assert summary(run)["training"]["metrics"]["epoch"] == 2
    assert {path: path.stat().st_mtime_ns for path in run.glob("data/*/*.parquet")} == shards, "prepared again"
    assert len(list(run.glob("checkpoint_*"))) <= 2, "only the best and the newest are kept"


def test_another_source_needs_another_name(run, samples):
    with pytest.raises(UsageError, match="choose another --name"):
        train.main(config(samples / "originals", run.parent))


def test_parquet_shards_are_read_too(ray_local, photographs, tmp_path):
    images = [path.read_bytes() for path in sorted(photographs.glob("*.png"))]
    pq.write_table(pa.table({"image": images[:30]}), tmp_path / "bytes.parquet")
    nested = [{"bytes": image, "path": None} for image in images[30:]]
    pq.write_table(pa.table({"image": pa.array(nested)}), tmp_path / "hugging-face.parquet")
    counts = train.prepare(list_sources(f"{tmp_path}/*.parquet"), f"{tmp_path}/data", config(tmp_path, tmp_path))
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
