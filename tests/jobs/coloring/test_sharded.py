"""Jobs over shards, beside the driver: what goes in, what comes out, what is done again."""

import hashlib
import io
import json
import os
import signal
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pytest import approx
from skimage import data

from jobs import colorize, restore, verify
from jobs.cli import UsageError
from jobs.coloring import few
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.shard_worker import ShardActor
from jobs.pages import iiif
from jobs.serving import live
from jobs.verify import VerifyConfig

FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}
pytestmark = pytest.mark.usefixtures("all_beside")


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
    assert "2 shards (4 other files are left alone), 0 already done" in capsys.readouterr().out
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


def test_a_part_of_the_archive_has_whole_shards(archive, tmp_path, capsys):
    assert run(archive, tmp_path / "whole") == 0
    capsys.readouterr()
    for number in (1, 2, 3):
        assert run(archive, tmp_path / "out", part=f"{number}/3") == 0
        assert f"part {number}/3: {int(number != 2)} of 2 shards" in capsys.readouterr().out
    assert shards(tmp_path / "out") == shards(tmp_path / "whole")
    assert [row["id"] for row in rows(tmp_path / "out")] == [row["id"] for row in rows(tmp_path / "whole")]
    assert run(archive, tmp_path / "out") == 0 and "2 already done" in capsys.readouterr().out


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


@pytest.fixture
def coloured(monkeypatch) -> list[str]:
    """Names of photographs that are coloured, as they are: the worker is in this process."""
    done: list[str] = []

    class Recording(ShardActor):
        def _predict(self, scans):
            done.extend(Path(scan.path).name for scan in scans)
            super()._predict(scans)

    def rows_of(todo, job, gpus=None):
        actor = Recording(replace(job, hold=None))
        for i in range(len(todo)):
            yield from actor(todo.select(actor.inputs).slice(i, 1))

    monkeypatch.setattr(few, "rows_of", rows_of)
    return done


def by_name(output) -> dict[str, dict]:
    return {row["source"].rpartition("#")[2]: row for row in rows(output)}


def test_of_a_shard_that_is_done_again_the_rest_is_carried_over(tmp_path, coloured, capsys):
    """With other settings those that these matter for, errors when asked for, what people mark, what has new hints."""
    text = io.BytesIO()
    Image.fromarray(data.page()).save(text, "PNG")
    cut = picture(2, "jpg")[:400]
    source, output = tmp_path / "set", tmp_path / "out"
    members = {"a.jpg": picture(0, "jpg"), "b.png": picture(1, "png"), "cut.jpg": cut, "text.png": text.getvalue()}
    write_tar(source / "a.tar", members)
    assert run(source, output) == 3
    assert sorted(coloured) == ["a.jpg", "b.png", "text.png"]
    before, first = by_name(output), shards(output)
    assert {name: row["kind"] for name, row in before.items()} == {
        "a.jpg": "grey", "b.png": "grey", "cut.jpg": None, "text.png": "text",
    }  # fmt: skip

    def again(**options) -> list[str]:
        coloured.clear()
        assert run(source, output, **options) == 3
        return sorted(coloured)

    assert again() == []
    assert again(if_text="skip") == [] and "1 done with other settings" in capsys.readouterr().out
    assert by_name(output)["text.png"]["status"] == "skipped"
    assert read_tar(output / "shards/a.tar")["text.png"] == text.getvalue(), "what is skipped stays as it was"
    assert again() == ["text.png"]
    assert shards(output) == first, "the same bytes, whatever was carried over"
    assert again(retry_errors=True) == [] and "1 failed before" in capsys.readouterr().out

    a = {name: before["a.jpg"][name] for name in ("id", "source")}
    decided = [a | {"decision": "redo"}, {"id": before["b.png"]["id"], "decision": "keep"}]
    (tmp_path / "decisions.json").write_text(json.dumps(decided))
    (tmp_path / "others.json").write_text(json.dumps([decided[0] | {"source": "/box2/a.tar#a.jpg"}]))
    with pytest.raises(UsageError, match="is about another archive"):
        again(only=str(tmp_path / "others.json"))
    capsys.readouterr()
    assert again(only=str(tmp_path / "decisions.json"), vividness=0.1) == ["a.jpg"]
    assert "photographs/s" not in capsys.readouterr().out, "one photograph has no rate; what is carried over counts not"
    now = by_name(output)
    assert {name: row["decision"] for name, row in now.items()} == {
        "a.jpg": None, "b.png": "keep", "cut.jpg": None, "text.png": None,
    }  # fmt: skip
    assert now["b.png"]["output_sha256"] == before["b.png"]["output_sha256"]
    assert now["a.jpg"]["settings"] != before["a.jpg"]["settings"]
    assert again() == ["a.jpg"], "a run without --only colours it with its own settings"

    (tmp_path / "hints.csv").write_text("path,x,y,color\na.tar/b.png,20,30,#c02020\n")
    assert again(hints=str(tmp_path / "hints.csv")) == ["b.png"]
    assert by_name(output)["b.png"]["hints"][0]["color"] == "#c02020"
    assert again(hints=str(tmp_path / "hints.csv")) == again() == [], "they are known by now, and hold"
    (tmp_path / "lost.csv").write_text("path,x,y,color\na.tar/B.png,20,30,#c02020\n")
    with pytest.raises(UsageError, match=r"1 photographs that SOURCE does not hold, such as a\.tar/B\.png"):
        again(hints=str(tmp_path / "lost.csv"))
    write_tar(source / "a.tar", members | {"new.jpg": picture(3, "jpg")})
    with pytest.raises(UsageError, match=r"has changed since .*decisions\.json was written"):
        again(only=str(tmp_path / "decisions.json"))
    assert again() == ["a.jpg", "b.png", "new.jpg", "text.png"], "a shard that has changed is another one"


def test_what_was_made_is_done_again_where_it_is_not_what_the_catalogue_says(tmp_path, coloured):
    """As where a job was killed between a shard and its file of the catalogue."""
    source, output = tmp_path / "set", tmp_path / "out"
    write_tar(source / "a.tar", {f"{i}.jpg": picture(i, "jpg") for i in range(3)})
    assert run(source, output) == 0
    first = shards(output)
    made = read_tar(output / "shards/a.tar")
    write_tar(output / "shards/a.tar", made | {"1.jpg": made["2.jpg"]})
    coloured.clear()
    assert run(source, output, if_text="skip", if_tinted="skip", retry_errors=True) == 0
    assert coloured == [], "no photograph's settings matter here"
    decided = [{"id": by_name(output)["0.jpg"]["id"], "decision": "redo"}]
    (tmp_path / "decisions.json").write_text(json.dumps(decided))
    assert run(source, output, only=str(tmp_path / "decisions.json")) == 0
    assert coloured == ["0.jpg", "1.jpg"] and shards(output) == first
    assert read_tar(output / "aside/shards/a.tar") == made | {"1.jpg": made["2.jpg"]}, "or as somebody has retouched it"


def test_what_people_have_made_and_said_outlives_a_shard_that_is_copied_or_gets_others(tmp_path, coloured):
    """The photographs in it are the same, though it has another time, and another size."""
    source, output = tmp_path / "set", tmp_path / "out"
    members = {f"{i}.jpg": picture(i, "jpg") for i in range(3)}
    write_tar(source / "a.tar", members)
    (tmp_path / "hints.csv").write_text("path,x,y,color\na.tar/1.jpg,20,30,#c02020\n")
    assert run(source, output, hints=str(tmp_path / "hints.csv")) == 0
    ids = {name: row["id"] for name, row in by_name(output).items()}
    decided = [{"id": ids[f"{i}.jpg"], "decision": said} for i, said in enumerate(("keep", "reject", "keep"))]
    (tmp_path / "decisions.json").write_text(json.dumps(decided))
    assert run(source, output, only=str(tmp_path / "decisions.json")) == 0
    before, made = by_name(output), read_tar(output / "shards/a.tar")
    write_tar(output / "shards/a.tar", made | {"2.jpg": made["0.jpg"]})
    retouched = (output / "shards/a.tar").read_bytes()

    write_tar(source / "a.tar", {"new.jpg": picture(5, "jpg")} | members | {"2.jpg": picture(6, "jpg")})
    assert run(source, output) == 0
    now = by_name(output)
    assert len(coloured) == 3 + 4 and now["1.jpg"]["hints"] == before["1.jpg"]["hints"]
    assert now["1.jpg"]["hints"]
    assert {name: row["decision"] for name, row in now.items()} == {
        "0.jpg": "keep", "1.jpg": "reject", "2.jpg": None, "new.jpg": None,
    }  # fmt: skip
    assert (output / "aside/shards/a.tar").read_bytes() == retouched


def test_what_was_made_of_another_photograph_is_not_carried_over(tmp_path, coloured):
    """As where a shard is replaced while the job begins, or by a tool that keeps its time."""
    shard, output = tmp_path / "set/a.tar", tmp_path / "out"
    write_tar(shard, {f"{i}.jpg": picture(i, "jpg") for i in range(3)})
    assert run(tmp_path / "set", output) == 0
    before = shard.stat()
    write_tar(shard, {f"{i}.jpg": picture(i % 2, "jpg") for i in range(3)})
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert shard.stat().st_size == before.st_size
    coloured.clear()
    decided = [{"id": by_name(output)["0.jpg"]["id"], "decision": "redo"}]
    (tmp_path / "decisions.json").write_text(json.dumps(decided))
    assert run(tmp_path / "set", output, only=str(tmp_path / "decisions.json")) == 0
    assert coloured == ["0.jpg", "2.jpg"]
    assert by_name(output)["2.jpg"]["source_sha256"] == hashlib.sha256(picture(0, "jpg")).hexdigest()


def test_no_name_is_taken_for_another_s(tmp_path, coloured):
    """Of bytes that are no UTF-8, and as the catalogue writes them."""
    names = [os.fsdecode(b"caf\xe9.jpg"), r"caf\udce9.jpg"]
    write_tar(tmp_path / "set/a.tar", {name: picture(i, "jpg") for i, name in enumerate(names)})
    assert run(tmp_path / "set", tmp_path / "out") == 0
    found = by_name(tmp_path / "out")
    shown = [r"caf\udce9.jpg", r"caf\u005cudce9.jpg"]
    assert [found[name]["source_sha256"] for name in shown] == [
        hashlib.sha256(picture(i, "jpg")).hexdigest() for i in range(2)
    ]
    assert verify.main(VerifyConfig(str(tmp_path / "out"), read_all=True)) == 0
    for i, name in enumerate(shown):
        assert np.array_equal(live._read(found[name]["source"]).shown, Image.open(io.BytesIO(picture(i, "jpg"))))
        (tmp_path / "hints.csv").write_text(f"path,x,y,color\na.tar/{name},{20 + i},30,#c02020\n")
        coloured.clear()
        assert run(tmp_path / "set", tmp_path / "out", hints=str(tmp_path / "hints.csv")) == 0
        assert coloured == [name]


class FaultyActor(ShardActor):
    """Its decoder crashes its process at some photographs."""

    def _decode(self, scan):
        if "crash" in scan.path:
            os.kill(os.getpid(), signal.SIGSEGV)
        super()._decode(scan)


def test_a_photograph_that_crashes_the_decoder_is_a_row(tmp_path, monkeypatch, capsys):
    names = ["0.jpg", "crash.jpg", "2.jpg", "3.jpg"]
    write_tar(tmp_path / "set/a.tar", {name: picture(i, "jpg") for i, name in enumerate(names)})
    write_tar(tmp_path / "set/b.tar", {"4.jpg": picture(4, "jpg")})
    monkeypatch.setattr(few, "ShardActor", FaultyActor)
    assert run(tmp_path / "set", tmp_path / "out") == 3
    found = by_name(tmp_path / "out")
    assert {name: row["status"] for name, row in found.items()} == {
        "0.jpg": "ok", "crash.jpg": "error", "2.jpg": "ok", "3.jpg": "ok", "4.jpg": "ok",
    }  # fmt: skip
    assert "three times" in found["crash.jpg"]["error"]


def test_bad_shards_are_rows_and_the_rest_is_done(tmp_path):
    source, output = tmp_path / "set", tmp_path / "out"
    write_tar(source / "a.tar", {"0.jpg": picture(0, "jpg"), "1.jpg": picture(1, "jpg")})
    (source / "cut.tar").write_bytes((source / "a.tar").read_bytes()[:3000])
    write_tar(source / "empty.tar", {})
    (source / "gone.tar").symlink_to(source / "nowhere")
    assert run(source, output) == 3
    found = by_name(output)
    bad = {name: row["error"] for name, row in found.items() if row["status"] != "ok"}
    assert {Path(name).name for name in bad} == {"cut.tar", "gone.tar"} and len(found) == 4
    assert "is cut short" in bad[f"{source}/cut.tar"]
    assert sorted(shards(output)) == ["a.tar", "empty.tar"] and read_tar(output / "shards/empty.tar") == {}
    assert run(source, output) == 3, "and again, with nothing to do"
    (source / "cut.tar").write_bytes((source / "a.tar").read_bytes())
    (source / "gone.tar").unlink()
    assert run(source, output) == 0
    assert len(rows(output)) == 5


def test_shards_whose_names_lead_elsewhere_are_refused(tmp_path):
    write_tar(tmp_path / "box/a.tar", {"0.jpg": picture(0, "jpg")})
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("a.tar", "../../x.tar"):
            archive.write(tmp_path / "box/a.tar", name)
    assert run(f"zip://::file://{tmp_path}/set.zip", tmp_path / "deep/out") == 3
    assert ["leads out of the archive" in (row["error"] or "") for row in rows(tmp_path / "deep/out")] == [True, False]
    assert not (tmp_path / "x.tar").exists() and list(shards(tmp_path / "deep/out")) == ["a.tar"]


def test_other_commands_know_shards(tmp_path, archive, capsys):
    """--dry-run, verify, restore; what takes pictures with an address of their own says so."""
    output = tmp_path / "out"
    assert run(archive, output, dry_run=True) == 0
    assert "2 shards to colour (2 new)" in capsys.readouterr().out and not output.exists()
    assert run(archive, output) == 0
    check = VerifyConfig(str(output), read_all=True)
    assert verify.main(check) == 0
    made = read_tar(output / "shards/00000.tar")
    write_tar(output / "shards/00000.tar", made | {"00.jpg": made["01.png"]})
    (output / "shards/00001.tar").unlink()
    capsys.readouterr()
    assert verify.main(check) == 3
    said = capsys.readouterr().out
    assert "4 colour photographs that are gone" in said and "00000.tar#00.jpg" in said and "00001.tar#10.jpg" in said
    assert verify.main(replace(check, mend=True)) == 0
    assert run(archive, output) == 0 and verify.main(check) == 0
    assert read_tar(output / "shards/00000.tar") == made

    assert restore.main(restore.RestoreConfig(str(output), str(tmp_path / "back"))) == 3, "PNG is none"
    assert (tmp_path / "back/00000.tar/00.jpg").read_bytes() == read_tar(archive / "00000.tar")["00.jpg"]
    with pytest.raises(UsageError, match="holds shards, in which pictures have no address"):
        iiif.write(str(output), "http://a.example/x", "http://a.example/y")


def test_through_ray_the_same_bytes(ray_local, tmp_path, archive, monkeypatch):
    assert run(archive, tmp_path / "beside") == 0
    monkeypatch.setattr(few, "are", lambda todo, config: False)
    assert run(archive, tmp_path / "ray", actors="2") == 0
    assert shards(tmp_path / "ray") == shards(tmp_path / "beside")
    assert [row["id"] for row in rows(tmp_path / "ray")] == [row["id"] for row in rows(tmp_path / "beside")]
