import contextlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorize_core import photo
from jobs.storage import shards
from jobs.storage.shards import Made, ShardError, tar, webdataset
from tests.jobs.storage.shards.through import photographs, through

KEPT = ("type", "mode", "uid", "gid", "uname", "gname", "mtime", "size", "pax_headers")


def archive(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo, format: int = tarfile.PAX_FORMAT) -> str:
    with tarfile.open(path, "w", format=format) as file:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                file.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size, info.mode, info.uname, info.mtime = len(member[1]), 0o640, "archivist", 1234567890.5
                file.addfile(info, io.BytesIO(member[1]))
    return str(path)


def members(path) -> list[tuple[str, bytes | None]]:
    with tarfile.open(path) as file:
        return [(info.name, (found := file.extractfile(info)) and found.read()) for info in file]


def jpeg(level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 12), level, np.uint8)).save(file, "JPEG")
    return file.getvalue()


def test_what_the_library_writes_goes_in_and_what_comes_out_is_read_by_it(tmp_path):
    wds = pytest.importorskip("webdataset", reason="for want of webdataset: pip install '.[test]'")
    with wds.TarWriter(str(tmp_path / "in.tar")) as file:
        for i in range(5):
            file.write({"__key__": f"scans/{i:03}", "jpg": jpeg(40 * i), "json": {"year": 1900 + i}, "cls": i})
    red = Image.new("RGB", (12, 8), "red")
    coloured = io.BytesIO()
    red.save(coloured, "PNG")
    through(str(tmp_path / "in.tar"), str(tmp_path / "out.tar"), lambda _: coloured.getvalue())

    def read(path) -> list[dict]:
        return list(wds.WebDataset(str(path), shardshuffle=False, empty_check=True).decode("pil"))

    before, after = read(tmp_path / "in.tar"), read(tmp_path / "out.tar")
    assert (
        [one["__key__"] for one in after] == [one["__key__"] for one in before] == [f"scans/{i:03}" for i in range(5)]
    )
    for one, other in zip(before, after, strict=True):
        assert {key: one[key] for key in ("json", "cls")} == {key: other[key] for key in ("json", "cls")}
        assert "jpg" not in other and other["png"].getpixel((0, 0)) == (255, 0, 0)
        assert other["colorize.json"]["status"] == "ok"


def test_what_stands_beside_photographs_is_carried_along_as_it_is(tmp_path):
    folder, link, soft = tarfile.TarInfo("box"), tarfile.TarInfo("box/same.jpg"), tarfile.TarInfo("box/there.jpg")
    folder.type, link.type, soft.type = tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE
    link.linkname, soft.linkname = "box/b.webp", "../b.jpg"
    source = archive(
        tmp_path / "in.tar", folder, ("box/a.txt", b"of a"), ("box/b.webp", b"b"), link, soft, ("box/c" * 40, b"long")
    )
    through(source, str(tmp_path / "out.tar"))
    with tarfile.open(source) as one, tarfile.open(tmp_path / "out.tar") as other:
        before, after = {info.name: info for info in one}, {info.name: info for info in other}
        assert [*after] == [
            "box", "box/a.txt", "box/b.png", "box/b.colorize.json", "box/same.jpg", "box/there.jpg", "box/c" * 40
        ]  # fmt: skip
        for name in {*before} & {*after}:
            assert [getattr(after[name], key) for key in KEPT] == [getattr(before[name], key) for key in KEPT]
        assert after["box/same.jpg"].linkname == "box/b.png"  # as it is called now
        assert after["box/there.jpg"].linkname == "../b.jpg"
        made = after["box/b.png"]
        assert (made.mode, made.uname, made.mtime, made.size) == (0o640, "archivist", 1234567890.5, 1)
        assert other.extractfile("box/same.jpg").read() == b"B"


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_photographs_that_stay_keep_every_byte_of_theirs(tmp_path, format):
    name = "/".join(["a folder"] * 12) + "/ein Dorf im Schnee.jpg"  # beyond the hundred bytes of a plain header
    source = archive(tmp_path / "in.tar", (name, b"first"), ("b.txt", b"second"), format=format)
    through(source, str(tmp_path / "out.tar"), lambda _: None)
    before, after = (tmp_path / "in.tar").read_bytes(), (tmp_path / "out.tar").read_bytes()
    end = before.index(b"first") + 512
    assert after[:end] == before[:end]
    assert members(tmp_path / "out.tar")[0] == (name, b"first")
    through(source, str(tmp_path / "out.tar"))
    assert members(tmp_path / "out.tar")[0] == (name.replace(".jpg", ".png"), b"FIRST")


def test_tar_reads_it(tmp_path):
    source = archive(tmp_path / "in.tar", ("é" * 90 + ".jpg", b"first"), ("b.txt", b"second"))
    through(source, str(tmp_path / "out.tar"))
    listed = subprocess.run(
        ["tar", "--quoting-style=literal", "-tf", tmp_path / "out.tar"], capture_output=True, text=True, check=True
    )
    assert listed.stdout.split() == ["é" * 90 + ".png", "é" * 90 + ".colorize.json", "b.txt"] and not listed.stderr


def test_names_that_are_no_unicode(tmp_path):
    name = b"f\xfcr.jpg".decode("utf-8", "surrogateescape")
    source = archive(tmp_path / "in.tar", (name, b"first"))
    (photograph,) = photographs(source)
    assert photograph.name == r"f\udcfcr.jpg"
    assert shards.read_one(source, photograph.name) == b"first"
    names = through(source, str(tmp_path / "out.tar"))
    assert members(tmp_path / "out.tar")[0] == (name.replace(".jpg", ".png"), b"FIRST")
    assert shards.read_one(str(tmp_path / "out.tar"), *names) == b"FIRST"


def test_notes_from_the_catalogue_say_the_same_as_fresh_ones(tmp_path):
    source, said = archive(tmp_path / "in.tar", ("a.jpg", b"first")), []
    for confidence in (0.8123456789, float(np.float32(0.8123456789))):
        with shards.open_shard(source) as shard, shards.ShardWriter(str(tmp_path / "out.tar"), like=shard) as writer:
            for portion in shard:
                writer.write(portion, [Made(None, None, {"confidence": confidence, "width": 3, "seconds": 7})])
        said.append(members(tmp_path / "out.tar")[1][1])
    assert said[0] == said[1]
    note = json.loads(said[0])
    assert [*note] == shards.NOTE.names
    assert (note["confidence"], note["width"], note["error"]) == (float(np.float32(0.8123456789)), 3, None)


def test_a_name_that_occurs_twice(tmp_path):
    source = archive(tmp_path / "in.tar", ("a.jpg", b"first"), ("b.jpg", b"second"), ("a.jpg", b"third"))
    first, _, third = photographs(source)
    assert (first.name, third.name, third.data) == ("a.jpg", "a.jpg@2", None)
    assert "another name" in third.problem
    assert shards.read_one(source, "a.jpg@2") == b"third"
    names = through(source, str(tmp_path / "out.tar"), suffix=None)
    assert names == ["a.jpg", "b.jpg", "a.jpg@2"]
    assert shards.read_one(str(tmp_path / "out.tar"), "a.jpg@2") == b"third"
    found = members(tmp_path / "out.tar")
    assert [name for name, _ in found] == [
        "a.jpg", "a.colorize.json", "b.jpg", "b.colorize.json", "a.jpg", "a.jpg.colorize.json"
    ]  # fmt: skip


def test_no_two_members_of_a_sample_get_one_name(tmp_path):
    source = archive(tmp_path / "in.tar", ("a.webp", b"first"), ("a.png", b"second"), ("a.left.jpg", b"third"))
    names = through(source, str(tmp_path / "out.tar"))
    assert names == ["a.webp.png", "a.png", "a.left.png"]
    assert [name for name, _ in members(tmp_path / "out.tar")] == [
        "a.webp.png", "a.colorize.json", "a.png", "a.png.colorize.json", "a.left.png", "a.left.colorize.json"
    ]  # fmt: skip


@pytest.mark.parametrize("stays", [False, True])
def test_a_name_that_was_given_away_before_it_came(tmp_path, monkeypatch, stays):
    monkeypatch.setattr(webdataset, "PORTION_PHOTOGRAPHS", 1)
    source = archive(tmp_path / "in.tar", ("a.webp", b"first"), ("b.png", b"second"), ("a.png", b"third"))
    output = str(tmp_path / "out.tar")
    data = (lambda data: None if data == b"third" else data.upper()) if stays else bytes.upper
    assert through(source, output, data) == ["a.png", "b.png", "a.png.png"]
    found = dict(members(output))
    assert len(found) == 6 and found["a.png"] == b"FIRST" and found["a.png.png"].upper() == b"THIRD"
    assert shards.read_one(output, "a.png.png").upper() == b"THIRD"


def test_a_sample_is_not_torn(tmp_path, monkeypatch):
    monkeypatch.setattr(webdataset, "PORTION_PHOTOGRAPHS", 3)
    names = [f"{key}.{side}.jpg" for key in "abcd" for side in ("left", "right")] + [f"e.{i}.jpg" for i in range(5)]
    with shards.open_shard(archive(tmp_path / "in.tar", *((name, b"x") for name in names))) as shard:
        keys = ["".join(one.name[0] for one in portion.photographs) for portion in shard]
    assert keys == ["aa", "bb", "cc", "dd", "eee", "ee"]


@pytest.mark.parametrize("name", ["a.jpg", "a.mp4"])
def test_what_is_large_stays_where_it_is_until_it_is_copied(tmp_path, monkeypatch, name):
    """A film beside photographs, or what is larger than any photograph."""
    monkeypatch.setattr(webdataset, "PORTION_BYTES", 5000)
    monkeypatch.setattr(photo, "MAX_BYTES", 9999)
    monkeypatch.setattr(tar, "_COPIED", 4096)
    content = np.random.default_rng(0).bytes(10_000)
    source = archive(tmp_path / "in.tar", (name, content), ("b.jpg", b"second"))
    with shards.open_shard(source) as shard:
        assert [one.data and len(one.data) for portion in shard for one in portion.items] == [None, 6]
    assert ["GB" in (one.problem or "") for one in photographs(source)] == (
        [True, False] if name == "a.jpg" else [False]
    )
    through(source, str(tmp_path / "out.tar"))
    assert members(tmp_path / "out.tar")[0] == (name, content)


def test_portions_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(webdataset, "PORTION_BYTES", 2500)
    names = [(f"{i}.jpg", bytes(size)) for i, size in enumerate([1000, 1000, 1000, 9000, 1000])]
    with shards.open_shard(archive(tmp_path / "in.tar", *names)) as shard:
        assert [[one.name for one in portion.photographs] for portion in shard] == [
            ["0.jpg", "1.jpg"], ["2.jpg"], ["3.jpg"], ["4.jpg"]
        ]  # fmt: skip


def test_a_shard_without_photographs(tmp_path):
    for found in ((), (("notes.txt", b"none"),)):
        source = archive(tmp_path / "in.tar", *found)
        assert through(source, str(tmp_path / "out.tar")) == []
        assert members(tmp_path / "out.tar") == list(found)


def test_a_sparse_photograph(tmp_path):
    with open(tmp_path / "a.jpg", "wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"a photograph")
    for format in ("gnu", "posix"):
        command = ["tar", "--sparse", f"--format={format}", "-C", tmp_path, "-cf", tmp_path / "in.tar", "a.jpg"]
        subprocess.run(command, check=True)
        (photograph,) = photographs(str(tmp_path / "in.tar"))
        assert "sparse" in photograph.problem
        through(str(tmp_path / "in.tar"), str(tmp_path / "out.tar"))
        (tmp_path / "back").mkdir(exist_ok=True)
        subprocess.run(["tar", "-C", tmp_path / "back", "-xf", tmp_path / "out.tar"], check=True)
        assert (tmp_path / "back/a.jpg").read_bytes() == (tmp_path / "a.jpg").read_bytes()


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda data: data[:700], "cut short"),
        (lambda data: data[:1100], "header"),
        (lambda data: data[:1024], "end-of-archive"),  # tar and webdataset take that for the end
        (lambda data: data[:1024] + b"x" * 512 + data[1536:], "1,024 bytes from its beginning"),
        (lambda data: data[:2048] + bytes(1024) + data[:2048], "goes on after its end"),
        (lambda data: b"", "is empty"),
        (lambda data: b"\xff\xd8\xff" * 1000, "no tar archive"),
    ],
    ids=["in a photograph", "in a header", "between two", "a header", "two in one", "empty", "another file"],
)
def test_damaged_shards(tmp_path, damage, what):
    path = tmp_path / "in.tar"
    archive(path, ("a.jpg", b"first"), ("b.jpg", b"second"), format=tarfile.USTAR_FORMAT)
    path.write_bytes(damage(path.read_bytes()))
    assert shards.kind_of(str(path)) == "webdataset"  # as it is called: else it would be lost without a word
    with pytest.raises(ShardError, match=what):
        through(str(path), str(tmp_path / "out.tar"))
    assert not (tmp_path / "out.tar").exists()


def test_whatever_is_damaged_is_told_in_a_sentence(tmp_path, rng):
    path = tmp_path / "in.tar"
    archive(path, *((f"{'é' * 60}{i}.jpg", b"x" * 600) for i in range(3)))
    whole = path.read_bytes()[:12288]
    for _ in range(200):
        data = np.frombuffer(whole, np.uint8).copy()
        data[rng.integers(len(data), size=3)] = rng.integers(256, size=3)
        path.write_bytes(data.tobytes())
        with contextlib.suppress(ShardError):
            through(str(path), str(tmp_path / "out.tar"))


@pytest.mark.parametrize("damage", [b"path=a.jpg\n", b"9999 path=a.jpg\n", b"12 size=many\n", b"13 size=-200\n"])
def test_damaged_extended_headers(tmp_path, damage):
    extended, plain = tarfile.TarInfo("extended"), tarfile.TarInfo("a.jpg")
    extended.type, extended.size = tarfile.XHDTYPE, len(damage)
    (tmp_path / "in.tar").write_bytes(extended.tobuf() + damage.ljust(512, b"\0") + plain.tobuf() + bytes(1024))
    with pytest.raises(ShardError, match=r"is damaged|no tar archive"):
        photographs(str(tmp_path / "in.tar"))


def test_one_block_may_be_the_end(tmp_path):
    source = archive(tmp_path / "in.tar", ("a.jpg", b"first"), format=tarfile.USTAR_FORMAT)
    (tmp_path / "in.tar").write_bytes((tmp_path / "in.tar").read_bytes()[: 1024 + 512])
    assert len(photographs(source)) == 1


def test_compressed_archives_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz"):
        pass
    with pytest.raises(ShardError, match=r"a\.tar\.gz is compressed \(gzip\): unpack it"):
        shards.kind_of(str(tmp_path / "a.tar.gz"))
