"""Photographs for training: prepared once, in one sequence, split by name."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

from colorize_core import training
from jobs.cli import UsageError
from jobs.storage.listing import list_sources
from jobs.training import shards

CHARTS = [getattr(data, name)() for name in ("astronaut", "chelsea", "coffee")]


def crop(i: int) -> bytes:
    file = io.BytesIO()
    offset = 4 * (i // 3)
    Image.fromarray(CHARTS[i % 3][offset : offset + 96, offset : offset + 128]).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """60 colour photographs of two classes, a grey one, an unreadable one, a small one."""
    folder = tmp_path_factory.mktemp("pets")
    for i in range(60):
        (folder / f"{'basset_hound' if i % 3 else 'Maine_Coon'}_{i}.png").write_bytes(crop(i))
    Image.fromarray(data.camera()).save(folder / "grey_1.png")
    Image.fromarray(CHARTS[0][:32, :32]).save(folder / "small_1.png")
    (folder / "unreadable_1.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def prepare(source, folder, split=(0.7, 0.2, 0.1), **options) -> shards.Prepared:
    return shards.prepare(list_sources(str(source)), str(folder), shards.Preparation(str(source), 72, split, **options))


def names(prepared, split) -> list[str]:
    return prepared.take(prepared.stretch(split))["name"].to_pylist()


@pytest.fixture(scope="module")
def prepared(ray_local, pets, tmp_path_factory) -> shards.Prepared:
    return prepare(pets, tmp_path_factory.mktemp("prepared") / "data")


def test_what_teaches_nothing_is_left_out_with_a_reason(prepared):
    assert prepared.left_out == {"grey": 1, "smaller than 64 pixels": 1, "unreadable": 1}
    assert sum(prepared.counts.values()) == sum(rows for _, rows in prepared.parts) == 60
    assert prepared.groups == {"Maine_Coon": 20, "basset_hound": 40}


def test_a_photograph_is_taken_from_its_place(prepared):
    everything = prepared.take(range(60))
    some = prepared.take(np.array([59, 3, 3, 40]))
    assert some["name"].to_pylist() == [everything["name"][i].as_py() for i in (59, 3, 3, 40)]
    assert some["image"].to_pylist() == [everything["image"][i].as_py() for i in (59, 3, 3, 40)]
    assert len(prepared.take([])) == 0
    for name, image in zip(everything["name"].to_pylist(), everything["image"].to_pylist(), strict=True):
        original = training.centre_square(np.asarray(Image.open(io.BytesIO(crop(int(name.split("_")[-1][:-4]))))), 72)
        ours = training.centre_square(training.decode(image), 72)
        assert np.abs(ours.astype(int) - original).mean() < 4, name


def test_the_split_goes_by_the_names_alone(prepared, pets, tmp_path):
    assert {split: len(names(prepared, split)) for split in shards.SPLITS} == prepared.counts
    assert all(prepared.counts.values())
    for path in sorted(pets.iterdir())[::2]:  # without every other photograph, and with other contents
        (tmp_path / path.name).write_bytes(crop(0))
    half = prepare(tmp_path, tmp_path / "data")
    for split in shards.SPLITS:
        assert set(names(half, split)) <= set(names(prepared, split)) | {
            "grey_1.png",
            "small_1.png",
            "unreadable_1.jpg",
        }


def test_an_exact_split_of_one_class(ray_local, pets, tmp_path):
    counted = prepare(pets, tmp_path / "data", (20, 12, 8), only=("basset_hound",))
    assert counted.counts == {"train": 20, "validation": 12, "test": 8}
    assert all(name.startswith("basset_hound") for split in shards.SPLITS for name in names(counted, split))
    assert len({name for split in shards.SPLITS for name in names(counted, split)}) == 40
    with pytest.raises(UsageError, match=r"asks for 41 photographs, .* gives 40 \(left out: none\)"):
        prepare(pets, tmp_path / "too-many", (20, 12, 9), only=("basset_hound",))
    with pytest.raises(UsageError, match="no photographs of class poodle: there are Maine_Coon, basset_hound, grey"):
        prepare(pets, tmp_path / "none", only=("poodle",))


def test_parquet_shards_keep_the_column_for_balancing(ray_local, tmp_path):
    images = [crop(i) for i in range(40)]
    table = {"image": images[:20], "path": [f"a/{i}.png" for i in range(20)], "origin": ["x"] * 15 + ["y"] * 5}
    pq.write_table(pa.table(table), tmp_path / "bytes.parquet")
    nested = [{"bytes": image, "path": f"b/{i}.png"} for i, image in enumerate(images[20:])]
    pq.write_table(pa.table({"image": nested, "origin": ["x"] * 20}), tmp_path / "hugging-face.parquet")
    balanced = prepare(tmp_path, tmp_path / "data", balance="origin")
    assert balanced.groups == {"x": 35, "y": 5}
    assert prepare(f"{tmp_path}/*.parquet", tmp_path / "a", only=("a",)).counts.keys() == balanced.counts.keys()
    assert prepare(f"{tmp_path}/*.parquet", tmp_path / "a", only=("a",)).left_out == {"of another class": 20}
    with pytest.raises(UsageError, match="2 Parquet file without a column called colour"):
        prepare(f"{tmp_path}/*.parquet", tmp_path / "b", balance="colour")
    pq.write_table(pa.table({"picture": [b"x"]}), tmp_path / "other.parquet")
    with pytest.raises(UsageError, match=r"neither photographs in a column called image .* columns are picture"):
        prepare(tmp_path / "other.parquet", tmp_path / "c")
    (tmp_path / "folder").mkdir()
    (tmp_path / "other.parquet").rename(tmp_path / "folder/other.parquet")
    with pytest.raises(UsageError, match=r"no photographs for the train split .*without a column called image"):
        prepare(tmp_path / "folder", tmp_path / "d")


def test_what_is_held_out_is_validated_on_and_not_trained_on(ray_local, pets, prepared, tmp_path):
    held_out = prepare(pets, tmp_path / "data", balance="class", hold_out=("Maine_Coon",))
    groups = {split: held_out.take(held_out.stretch(split))["group"].to_pylist() for split in shards.SPLITS}
    assert groups["validation"].count("Maine_Coon") == 20
    assert "Maine_Coon" not in groups["train"] + groups["test"]
    others = [name for name in names(prepared, "train") if name.startswith("basset_hound")]
    assert sorted(names(held_out, "train")) == sorted(others), "the others stay where they were"


def test_prepared_once_and_for_one_purpose(prepared, pets, capsys):
    folder = prepared.folder
    before = {path: path.stat().st_mtime_ns for path in pets.parent.glob("**/part-*.parquet")}
    assert prepare(pets, folder) == prepared
    assert {path: path.stat().st_mtime_ns for path in before} == before
    recipe = shards.Preparation(str(pets), 72, (0.7, 0.2, 0.1))
    assert shards.prepare(list_sources(str(pets))[1:], folder, recipe) == prepared
    assert "the number of files has changed since" in capsys.readouterr().out
    with pytest.raises(UsageError, match="choose another --name"):
        prepare(pets, folder, (0.5, 0.5, 0.0))


def test_grey_photographs_alone_teach_nothing(ray_local, tmp_path):
    Image.fromarray(data.camera()).save(tmp_path / "grey.png")
    with pytest.raises(UsageError, match=r"no photographs for the train split \(left out: 1 grey\)"):
        prepare(tmp_path, tmp_path / "data")
