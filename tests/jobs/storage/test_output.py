"""A place is claimed before it is written, held by one job at a time, and loses nothing that is not ours."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time

import fsspec
import pytest

from jobs.cli import UsageError
from jobs.storage import output
from jobs.storage.output import LEASE, MARKER, Place, is_content
from jobs.storage.parts import WHOLE, Part

marker = Place.marker


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(output, "BEAT", 0.1)
    monkeypatch.setattr(output, "DEAD", 1.0)


@pytest.fixture(params=["folder", "bucket"])
def place(request, tmp_path, s3_endpoint) -> Place:
    if request.param == "folder":
        return Place(str(tmp_path / "out"))
    name = f"place-{os.urandom(4).hex()}"
    fsspec.filesystem("s3").mkdir(name)
    return Place(f"s3://{name}/out")


def test_a_place_is_of_one_kind_and_one_source(place):
    with place.claim("archive", "/a"):
        assert place.marker["kind"] == "archive" and place.marker["source"] == "/a"
    with place.claim("archive", "/a"):
        pass
    with pytest.raises(UsageError, match=r"holds the results of /a, not of /b: choose another place, or.*--moved"):
        place.check("archive", "/b")
    with pytest.raises(UsageError, match="holds an archive's colours, not a training run"):
        place.check("run", "/a")
    with place.claim("archive", "/b", moved=True):
        assert place.marker["source"] == "/b"


def test_what_is_there_already_and_not_ours_is_left_alone(place):
    place.fs.makedirs(f"{place.root}/images", exist_ok=True)
    place.fs.pipe_file(f"{place.root}/notes.txt", b"mine")
    with place.claim("archive", "/a"):
        pass  # nothing of it is in the way
    place.fs.rm_file(f"{place.root}/{MARKER}")
    place.fs.pipe_file(f"{place.root}/images/holiday.png", b"mine")
    with pytest.raises(UsageError, match="images is there already, and was not made by this program"):
        place.check("archive", "/a")
    with pytest.raises(UsageError, match="is there already, and was not made by this program"):
        place.check("run", "/a")
    place.check("archive", "/a", adopted=True)
    for theirs in (b"{", b"[]", b'{"kind": "paint", "source": "/a"}', b'{"kind": "archive"}'):
        place.fs.pipe_file(f"{place.root}/{MARKER}", theirs)
        with pytest.raises(UsageError, match=r"colorize\.json is damaged .*choose another place"):
            place.check("archive", "/a")


def test_a_second_job_is_refused_while_the_first_one_works(place):
    refused = pytest.raises(UsageError, match=f"another job works on {place.uri} .process {os.getpid()} on ")
    with place.claim("archive", "/a"), refused, place.hold():
        pass
    with place.hold():
        pass


def test_of_two_that_start_at_once_one_works(place):
    """Again and again, since it is a race."""
    place.fs.makedirs(place.root, exist_ok=True)
    for _ in range(10):
        together, refused, holding = threading.Barrier(4), threading.Semaphore(0), []

        def job(together=together, refused=refused, holding=holding):
            together.wait()
            try:
                with place.hold() as lease:
                    holding.append(lease.token)
                    for _ in range(3):  # the others, however late they come
                        refused.acquire(timeout=30)
            except UsageError as error:
                assert "another job" in str(error)
                refused.release()

        jobs = [threading.Thread(target=job) for _ in range(4)]
        for thread in jobs:
            thread.start()
        for thread in jobs:
            thread.join()
        assert len(holding) == 1
        assert not place.fs.exists(f"{place.root}/{LEASE}")


@pytest.mark.parametrize("part", [WHOLE, Part(3, 16)])
def test_a_killed_job_holds_nothing(tmp_path, monkeypatch, part):
    monkeypatch.setattr(output, "DEAD", 60.0)
    code = f"""
import os, signal
from jobs.storage.output import Place
from jobs.storage.parts import Part
with Place({str(tmp_path / "out")!r}).claim("archive", "/a", part={part!r}):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code])
    place = Place(str(tmp_path / "out"))
    assert [path for path in place.files("") if LEASE in path]
    started = time.monotonic()
    with place.claim("archive", "/a"):
        assert time.monotonic() - started < output.DEAD, "on the same machine that is known at once"


def test_a_job_killed_before_it_could_say_whose_the_place_is(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / f"out/{LEASE}").write_text("{")
    (tmp_path / f"out/{LEASE}.cafe").write_text("")
    place = Place(str(tmp_path / "out"))
    place.check("run", "/a")
    with place.claim("run", "/a") as lease:
        lease.check()
    assert not place.fs.exists(lease.path)


def test_a_job_on_another_machine_is_alive_while_its_lease_changes(place, capsys):
    place.fs.makedirs(place.root, exist_ok=True)
    elsewhere = {"token": "theirs", "beats": 0, "machine": "elsewhere", "process": 1, "born": "1", "boot": "1"}

    def beat(beats: int):
        place.fs.pipe_file(f"{place.root}/{LEASE}", json.dumps(elsewhere | {"beats": beats}).encode())

    beat(0)
    beats = itertools.count(1)
    with pytest.MonkeyPatch.context() as meanwhile:
        meanwhile.setattr(output, "DEAD", 60.0)
        meanwhile.setattr(time, "sleep", lambda seconds: beat(next(beats)))
        with pytest.raises(UsageError, match=r"another job works on .* on elsewhere"), place.hold():
            pass
    with place.hold() as lease:  # it does not change any more
        assert "seeing whether that still works" in capsys.readouterr().out
        beat(next(beats))
        with pytest.raises(UsageError, match="another job has taken"):
            lease.check()
    assert json.loads(place.fs.cat_file(f"{place.root}/{LEASE}"))["token"] == "theirs", "which is not ours to remove"


def test_a_lease_is_renewed(place):
    with place.claim("archive", "/a") as lease:
        before = place.fs.cat_file(lease.path)
        deadline = time.monotonic() + 20
        while place.fs.cat_file(lease.path) == before:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        lease.check()


def test_jobs_of_parts_that_overlap_exclude_each_other(place):
    with place.claim("archive", "/a", part=Part(3, 16)):
        for part in (WHOLE, Part(3, 16), Part(1, 4), Part(5, 32)):
            refused = pytest.raises(UsageError, match=f"another job works on part 3/16 of {place.uri} .process")
            with refused, place.claim("archive", "/a", part=part):
                pass
        with place.claim("archive", "/a", part=Part(4, 16)), place.claim("archive", "/a", part=Part(2, 4)):
            pass
    with place.claim("archive", "/a"), pytest.raises(UsageError, match=f"another job works on {place.uri} "):
        place.hold(Part(4, 16)).__enter__()
    assert [path.rpartition("/")[2] for path in place.files("")] == [MARKER]


def test_of_two_parts_that_begin_a_place_with_different_photographs_one_works(place, monkeypatch):
    """The other one saw no marker when it looked."""
    with place.claim("archive", "/a", part=Part(1, 2)):
        looked = [None, None]
        monkeypatch.setattr(Place, "marker", property(lambda self: looked.pop() if looked else marker.__get__(self)))
        with pytest.raises(UsageError, match="holds the results of /a, not of /b"):
            place.claim("archive", "/b", part=Part(2, 2)).__enter__()
        assert not looked


def test_a_part_leaves_alone_what_another_one_may_be_writing(tmp_path):
    place, begun = Place(str(tmp_path / "out")), tmp_path / "out/catalog/.colorize-0123456789abcdef"
    with place.claim("archive", "/a", part=Part(1, 2)):
        begun.parent.mkdir()
        begun.write_bytes(b"PAR1")
        with place.claim("archive", "/a", part=Part(2, 2)):
            assert begun.exists()
    with place.claim("archive", "/a"):
        assert not begun.exists()


def test_a_place_that_another_job_has_done_meanwhile_is_not_taken_over(place, monkeypatch):
    make = Place.make

    def slowly(self):
        make(self)
        monkeypatch.setattr(Place, "make", make)
        with Place(place.uri).claim("archive", "/scans/box1"):
            pass

    monkeypatch.setattr(Place, "make", slowly)
    with pytest.raises(UsageError, match="holds the results of /scans/box1, not of /scans/box2"):
        place.claim("archive", "/scans/box2").__enter__()
    assert place.marker["source"] == "/scans/box1" and not place.fs.exists(f"{place.root}/{LEASE}")


def test_only_what_proves_to_be_ours_is_deleted(place):
    place.fs.makedirs(f"{place.root}/images", exist_ok=True)
    mine = f"{place.root}/images/a.png"
    place.fs.pipe_file(mine, b"content")
    assert not place.remove(mine, is_content(hashlib.sha256(b"other").hexdigest())) and place.fs.exists(mine)
    assert place.remove(mine, is_content(hashlib.sha256(b"content").hexdigest())) and not place.fs.exists(mine)
    assert place.remove(mine, lambda data: False), "it is gone"
    for outside in ("/elsewhere/a.png", f"{place.root}/../a.png", f"{place.root}2/a.png"):
        with pytest.raises(ValueError, match="does not lie in"):
            place.remove(outside, lambda data: True)


def test_what_is_put_aside_is_kept(place):
    place.fs.makedirs(f"{place.root}/catalog", exist_ok=True)
    for content in (b"first", b"second"):
        place.fs.pipe_file(f"{place.root}/catalog/a.parquet", content)
        place.put_aside(f"{place.root}/catalog/a.parquet")
    kept = [place.fs.cat_file(f"{place.root}/aside/{of}catalog/a.parquet") for of in ("", "2/")]
    assert kept == [b"first", b"second"] and place.files("catalog") == []
    place.fs.pipe_file(f"{place.root}/catalog/a.parquet", b"third")
    place.keep_aside(f"{place.root}/catalog/a.parquet")
    assert place.fs.cat_file(f"{place.root}/aside/3/catalog/a.parquet") == b"third"
    assert len(place.files("catalog")) == 1 and place.count_aside() == 3


def test_a_folder_with_anything_else_in_it_stays(place):
    place.fs.makedirs(f"{place.root}/checkpoint_2/mine", exist_ok=True)
    place.fs.pipe_file(f"{place.root}/checkpoint_2/mine/state.pt", b"x")
    assert not place.remove_folder(f"{place.root}/checkpoint_2", {"state.pt"})
    place.fs.makedirs(f"{place.root}/checkpoint_1", exist_ok=True)
    place.fs.pipe_file(f"{place.root}/checkpoint_1/state.pt", b"x")
    place.fs.pipe_file(f"{place.root}/checkpoint_1/thesis.doc", b"x")
    assert not place.remove_folder(f"{place.root}/checkpoint_1", {"state.pt"})
    place.fs.rm_file(f"{place.root}/checkpoint_1/thesis.doc")
    assert place.remove_folder(f"{place.root}/checkpoint_1", {"state.pt"})
    assert not place.fs.exists(f"{place.root}/checkpoint_1")


def test_only_one_module_deletes():
    """Nothing else in the packages calls what deletes files or folders, but for temporary ones of its own."""
    import re
    from pathlib import Path

    import colorize_core
    import jobs

    deleting = re.compile(r"\.(rm|rm_file|rmdir|rmtree|delete|unlink)\(|\bos\.remove\(|\brmtree\(")
    found = set()
    for package in (colorize_core, jobs):
        for path in Path(package.__path__[0]).rglob("*.py"):
            if deleting.search(path.read_text()):
                found.add(path.relative_to(Path(package.__path__[0]).parent).as_posix())
    assert found == {"jobs/storage/output.py", "jobs/storage/files.py", "jobs/coloring/deaths.py"}


def test_a_bucket_that_nobody_may_ask_for_is_not_said_to_be_missing(s3_endpoint, monkeypatch):
    place = Place("s3://closed/out")

    def refuse(path):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(place.fs._fs, "exists", lambda path: False)
    monkeypatch.setattr(place.fs._fs, "ls", refuse)
    with pytest.raises(PermissionError, match="Access Denied"):
        place.make()
