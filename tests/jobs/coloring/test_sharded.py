"""Jobs over shards, beside the driver: what goes in, what comes out, what is done again."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pytest import approx
from skimage import data

from jobs import colorize
from jobs.cli import UsageError
from jobs.coloring import few
from jobs.coloring.config import ColorizeConfig

FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}


@pytest.fixture(autouse=True)
def beside(monkeypatch):
    """Without Ray, although other tests may have started it in this process."""
    monkeypatch.setattr(few, "are", lambda todo, config: True)


def run(source, output, **options) -> int:
    return colorize.main(ColorizeConfig(source=str(source), output=str(output), review=False, **options))


def picture(i: int, suffix: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(data.camera()[5 * i : 5 * i + 90, :120]).save(file, FORMATS[suffix])
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def read_tar(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def rows(output) -> list[dict]:
    """As any user of Parquet would read them."""
    return pq.read_table(f"{output}/catalog").sort_by("source").to_pylist()


def shards(output) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(output, "shards").rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """Two tar archives, beside which img2dataset has left its statistics."""
    folder = tmp_path_factory.mktemp("archive")
    for shard in range(2):
        members = {}
        for i, suffix in enumerate(FORMATS):
            members |= {f"{shard}{i}.{suffix}": picture(3 * shard + i, suffix), f"{shard}{i}.txt": b"a caption"}
        write_tar(folder / f"{shard:05d}.tar", members)
        (folder / f"{shard:05d}_stats.json").write_text("{}")
        pq.write_table(pa.table({"url": ["http://x"]}), folder / f"{shard:05d}.parquet")
    return folder


def test_a_tar_comes_out_as_a_tar_and_again_nothing_is_done(archive, tmp_path, capsys):
    assert run(archive, tmp_path / "out") == 0
    assert "2 shards (4 other files beside them are left alone), 0 already done" in capsys.readouterr().out
    found = rows(tmp_path / "out")
    assert [row["status"] for row in found] == ["ok"] * 6
    assert found[0]["source"] == f"{archive}/00000.tar#00.jpg"
    assert found[2]["output"] == f"{tmp_path}/out/shards/00000.tar#02.png", "a WebP becomes a PNG"
    made = read_tar(tmp_path / "out/shards/00000.tar")
    assert [name for name in made if not name.endswith("colorize.json")] == [
        "00.jpg", "00.txt", "01.png", "01.txt", "02.png", "02.txt",
    ]  # fmt: skip
    assert made["00.txt"] == b"a caption"
    for row in found[:3]:
        pixels = np.asarray(Image.open(io.BytesIO(made[row["output"].partition("#")[2]])).convert("RGB")).astype(int)
        assert np.ptp(pixels, axis=2).mean() > 2, "it is in colour"
        note = json.loads(made[f"{Path(row['source'].partition('#')[2]).stem}.colorize.json"])
        assert note == {name: approx(row[name]) if "co" in name else row[name] for name in note}
        assert note["status"] == "ok" and note["confidence"]
    before = shards(tmp_path / "out"), rows(tmp_path / "out")

    assert run(archive, tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "2 already done" in said and "6 coloured, 0 failed" in said
    assert (shards(tmp_path / "out"), rows(tmp_path / "out")) == before


def test_a_parquet_set_keeps_its_rows_and_what_fails_is_a_row(tmp_path):
    images = [picture(0, "jpg"), b"garbage", None, picture(1, "png")]
    table = pa.table({"image": pa.array(images, pa.binary()), "label": [4, 3, 2, 1]})
    (tmp_path / "set").mkdir()
    pq.write_table(table, tmp_path / "set/train.parquet")
    assert run(tmp_path / "set", tmp_path / "out") == 3
    made = pq.read_table(tmp_path / "out/shards/train.parquet")
    assert made["label"].to_pylist() == [4, 3, 2, 1]
    notes = made["colorize"].to_pylist()
    assert [note["status"] for note in notes] == ["ok", "error", "error", "ok"]
    assert "not an image" in notes[1]["error"] and "null" in notes[2]["error"]
    assert made["image"].to_pylist()[1:3] == images[1:3], "what fails stays as it was"
    assert made["image"][0].as_py()[:3] == b"\xff\xd8\xff" and made["image"][0].as_py() != images[0]
    assert {row["source"].rpartition("#")[2]: row["status"] for row in rows(tmp_path / "out")} == {
        "0": "ok", "1": "error", "2": "error", "3": "ok",
    }  # fmt: skip
    assert run(tmp_path / "set", tmp_path / "out") == 3, "and again, with nothing to do"


@pytest.mark.parametrize(
    "beside, options, says",
    [
        ({"a.jpg": b""}, {}, r"holds shards and also photographs in files of their own, such as a.jpg: .*\*.tar"),
        ({"b.parquet": None}, {}, "holds shards of two kinds"),
        ({}, {"format": "parquet"}, "--format parquet is for photographs in files of their own"),
        ({}, {"variants": 2}, "which shards have no place for"),
    ],
)
def test_what_shards_do_not_go_with_is_refused(tmp_path, beside, options, says):
    write_tar(tmp_path / "set/a.tar", {"a.jpg": picture(0, "jpg")})
    for name, content in beside.items():
        if content is None:
            pq.write_table(pa.table({"image": pa.array([b"x"])}), tmp_path / "set" / name)
        else:
            (tmp_path / "set" / name).write_bytes(content)
    with pytest.raises(UsageError, match=says):
        run(tmp_path / "set", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
