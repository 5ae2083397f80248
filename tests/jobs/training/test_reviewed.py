"""What people have said of an archive's colours, as photographs to train on."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from skimage import data

from colorize_core import color, training
from jobs.cli import UsageError
from jobs.storage.catalog import SCHEMA, Catalog
from jobs.storage.listing import list_sources
from jobs.training import shards
from jobs.training.config import TrainConfig
from jobs.training.reviewed import corrections

HINT = {"x": 40.0, "y": 30.0, "color": "#2e8b57", "radius": 10.0}
SAID = {  # decision and hints of each photograph
    "kept": ("keep", None), "kept-hinted": ("keep", [HINT]), "hinted": (None, [HINT]), "redo-hinted": ("redo", [HINT]),
    "rejected": ("reject", [HINT]), "undecided": (None, None), "redo": ("redo", None),
}  # fmt: skip


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("archive")
    (output / "images").mkdir()
    rows = []
    for i, (name, (decision, hints)) in enumerate(SAID.items()):
        path = output / f"images/{name}.png"
        Image.fromarray(data.coffee()[4 * i : 4 * i + 128, 100:260]).save(path)
        row = {"id": hashlib.sha256(name.encode()).hexdigest()[:32], "output": str(path), "status": "ok"}
        rows.append(row | {"decision": decision, "hints": hints})
    rows.append({"id": "0", "status": "error", "decision": "keep"})
    Catalog(str(output)).append(pa.Table.from_pylist(rows, SCHEMA))
    return output


def test_what_is_kept_is_true_and_what_is_hinted_is_true_there(archive):
    found = {Path(one.uri).stem: one.hints for one in corrections(str(archive))}
    assert found == {"kept": None, "kept-hinted": None, "hinted": [HINT], "redo-hinted": [HINT]}


def test_an_archive_that_nobody_has_reviewed_is_refused(tmp_path):
    with pytest.raises(UsageError, match="has no catalogue"):
        corrections(str(tmp_path))
    Catalog(str(tmp_path)).append(pa.Table.from_pylist([{"id": "a", "status": "ok", "output": "a.png"}], SCHEMA))
    with pytest.raises(UsageError, match="no photograph that somebody has kept"):
        corrections(str(tmp_path))


def test_they_join_the_photographs(archive, tmp_path, ray_local, capsys):
    (tmp_path / "photographs").mkdir()
    for i in range(20):
        Image.fromarray(data.chelsea()[i : i + 96, :128]).save(tmp_path / f"photographs/{i}.png")
    source, folder = str(tmp_path / "photographs"), str(tmp_path / "prepared")
    recipe = shards.Preparation(source, 72, (0.7, 0.3, 0), reviewed=(str(archive),))
    prepared = shards.prepare(list_sources(source), folder, recipe, corrections(str(archive)))
    assert prepared.groups["reviewed"] == 4 and sum(prepared.counts.values()) == 24
    everything = prepared.take(range(24))
    partly = [
        i for i, image in enumerate(everything["image"].to_pylist()) if Image.open(io.BytesIO(image)).mode == "RGBA"
    ]
    assert len(partly) == 2 and max(partly) < prepared.counts["train"], "never validated on"
    image = everything["image"][partly[0]].as_py()
    ab = training.examples([image], 64)[1][0].numpy()
    known = np.isfinite(ab).all(0)
    assert 0 < known.mean() < 0.1
    true = color.rgb_to_lab(np.array([[[0x2E, 0x8B, 0x57]]], np.uint8))[0, 0, 1:]
    assert np.abs(np.median(ab[:, known], axis=1) - true).max() < 3
    assert shards.prepare(list_sources(source), folder, recipe, corrections(str(archive))[1:]) == prepared
    assert "what people say of the colours has changed since" in capsys.readouterr().out


def test_what_was_said_of_one_that_is_gone_is_not_taken_for_another_s(archive, tmp_path):
    recipe = shards.Preparation("photographs", 72, (1, 0, 0), reviewed=(str(archive),))
    said = [[HINT], None, [HINT | {"x": 1.0}]]
    uris = [f"{archive}/images/gone.png", f"{archive}/images/kept.png", f"{archive}/images/hinted.png"]
    row = {"uris": uris, "paths": ["gone", "kept", "hinted"], "hints": [json.dumps(hints) for hints in said]}
    found = {name: hints for name, _, data, hints in shards._encoded(row, recipe) if isinstance(data, bytes)}
    assert found == {"kept": None, "hinted": said[2]}


def test_they_have_a_weight_of_their_own():
    groups = {"a": 100, "reviewed": 25}
    config = TrainConfig("photographs", storage="runs", reviewed=("out",))
    assert config.weights_of(groups) is None
    config = TrainConfig("photographs", storage="runs", reviewed=("out",), emphasis={"reviewed": 5})
    assert config.weights_of(groups) == {"a": 1, "reviewed": 5}
    config = TrainConfig("photographs", storage="runs", reviewed=("out",), emphasis={"reviewed": 5}, balance="class")
    assert config.weights_of(groups) == {"a": 0.1, "reviewed": 1.0}
    with pytest.raises(UsageError, match="--balance"):
        TrainConfig("photographs", storage="runs", emphasis={"reviewed": 5})
    with pytest.raises(UsageError, match="into shares"):
        TrainConfig("photographs", storage="runs", reviewed=("out",), split="134/36/30")
