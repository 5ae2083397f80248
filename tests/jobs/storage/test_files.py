import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import zipfile

import fsspec
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from s3fs.errors import translate_boto_error

from jobs.storage import files

FORK = multiprocessing.get_context("fork")


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("length", [243, 251, 255])
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path, length):
    name = ("ü" * 200)[: length // 2] + "x" * (length % 2)
    assert len(os.fsencode(name)) == length
    files.write_bytes(str(tmp_path / name), b"x")
    assert names(tmp_path) == [name] and files.read_bytes(str(tmp_path / name)) == b"x"


NAMES = (
    "a",
    "a::b",
    "s3::a",
    "zip::a",
    "a*",
    "a?",
    "a[b]",
    "a#b",
    "a%2Fb",
    "a\nb",
    " a ",
    "-a",
    "~a",
    "a\\b",
    "file:a",
)


def test_a_name_is_that_of_one_file(tmp_path):
    """Whatever it means elsewhere."""
    for name in NAMES:
        files.write_bytes(str(tmp_path / name), name.encode())
    assert names(tmp_path) == sorted(NAMES)
    for name in NAMES:
        assert files.is_local(str(tmp_path / name)) and files.read_bytes(str(tmp_path / name)) == name.encode()
        fs, path = files.file_system(str(tmp_path / name))
        assert fs.cat_file(path) == name.encode()


def test_a_key_in_a_bucket_is_that_of_one_object(s3_endpoint):
    s3 = fsspec.filesystem("s3")
    s3.mkdir("keys")
    keys = [name for name in NAMES if "\n" not in name]  # which the server of these tests does not take
    for name in keys:
        files.write_bytes(f"s3://keys/{name}", name.encode())
        with files.stored(f"s3://keys/stored/{name}") as file:
            file.write(name.encode())
    found = {entry["Key"] for entry in s3.call_s3("list_objects_v2", Bucket="keys")["Contents"]}
    assert found == {*keys, *(f"stored/{name}" for name in keys)}
    for name in keys:
        assert files.read_bytes(f"s3://keys/{name}") == name.encode()
    for name in ("a?versionId=1", os.fsdecode(b"a\xff")):
        with pytest.raises(OSError, match="rename it"):
            files.write_bytes(f"s3://keys/{name}", b"x")
    assert files.read_bytes("s3://keys/a") == b"a"


def test_an_archive_s_member_is_in_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
        archive.writestr("a.png", b"x")
    uri = f"zip://a.png::file://{tmp_path}/scans.zip"
    assert files.read_bytes(uri) == b"x" and not files.is_local(uri)


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_what_another_name_leads_to_is_never_written_to(tmp_path, link):
    """Such as what a process has left that was killed when its file had its name already, but its first one too."""
    original, place = tmp_path / "original.png", tmp_path / "a.png"
    original.write_bytes(b"original")
    files.write_bytes(str(place), b"x")
    link(original, files._temporary(str(place)))
    files.write_bytes(str(place), b"new")
    assert (original.read_bytes(), place.read_bytes()) == (b"original", b"new")
    link(place, files._temporary(str(place)))
    with pytest.raises(FileExistsError):
        files.write_bytes(str(place), b"another", new=True)
    assert place.read_bytes() == b"new" and names(tmp_path) == ["a.png", "original.png"]


def slowly(path, content: bytes, started, go_on):
    replace = os.replace

    def waiting(*places):
        started.set()
        go_on.wait(20)
        replace(*places)

    os.replace = waiting
    files.write_bytes(path, content)


def test_the_leftover_of_a_killed_process_is_taken_over(tmp_path):
    started, never = FORK.Event(), FORK.Event()
    process = FORK.Process(target=slowly, args=(str(tmp_path / "a.png"), b"a longer first attempt", started, never))
    process.start()
    assert started.wait(20)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (leftover,) = names(tmp_path)
    assert leftover.startswith(files.UNFINISHED)
    files.write_bytes(str(tmp_path / "a.png"), b"second")
    assert names(tmp_path) == ["a.png"] and (tmp_path / "a.png").read_bytes() == b"second"


def test_two_processes_that_store_one_file_do_so_in_turn(tmp_path):
    """A worker that is given up for dead may still be at work."""
    path, started, go_on = str(tmp_path / "a.png"), FORK.Event(), FORK.Event()
    first = FORK.Process(target=slowly, args=(path, b"first", started, go_on))
    first.start()
    assert started.wait(20)
    second = FORK.Process(target=files.write_bytes, args=(path, b"second, longer"))
    second.start()
    time.sleep(0.3)
    assert second.is_alive() and not os.path.exists(path)
    go_on.set()
    first.join(20), second.join(20)
    assert names(tmp_path) == ["a.png"] and files.read_bytes(path) == b"second, longer"
    assert first.exitcode == second.exitcode == 0


def test_what_is_to_outlive_a_power_cut_is_synchronized(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    files.write_bytes(str(tmp_path / "a"), b"abc")
    assert not synced
    files.write_bytes(str(tmp_path / "a"), b"abc", lasting=True)
    assert synced == [3]
    files.settle(str(tmp_path))
    files.settle(str(tmp_path / "none"))
    files.settle("memory://bucket")


def test_the_first_bytes_decide_whether_the_others_are_read(tmp_path):
    path = tmp_path / "a"
    with open(path, "wb") as file:
        file.truncate(1 << 40)  # takes no room

    def refuse(head: bytes):
        assert head == bytes(files.HEAD)
        raise ValueError("not an image")

    with pytest.raises(ValueError, match="not an image"):
        files.read_bytes(str(path), refuse)
    with pytest.raises(OSError, match=r"it has 1,099.5 GB"):
        files.read_bytes(str(path), most=3_200_000_000)
    for content in (b"", b"x", b"x" * files.HEAD, os.urandom(files.HEAD + 1)):
        path.write_bytes(content)
        assert files.read_bytes(str(path), most=files.HEAD + 1) == files.read_bytes(str(path)) == content
    with pytest.raises(OSError, match=r"it has 0\.0 GB"):
        files.read_bytes(str(path), most=files.HEAD)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: '.*/\[1\].png'"):
        files.read_bytes(str(tmp_path / "[1].png"))


def refused(code: str, message: str) -> Exception:
    return translate_boto_error(ClientError({"Error": {"Code": code, "Message": message}}, "PutObject"))


def test_full_is_told_from_refused():
    assert files.is_full(OSError(errno.ENOSPC, "No space left on device"))
    assert files.is_full(OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert files.is_full(refused("QuotaExceeded", "The quota is exceeded."))
    assert not files.is_full(PermissionError(errno.EACCES, "Permission denied"))
    assert not files.is_full(refused("AccessDenied", "Access Denied"))
    assert not files.is_full(ValueError("no"))


def test_a_full_disk_leaves_nothing_behind_and_is_recognised(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError) as error:
        files.write_bytes(str(tmp_path / "a.png"), b"x")
    assert files.is_full(error.value) and not names(tmp_path)


@pytest.mark.parametrize(
    "error, said",
    [
        (NoCredentialsError(), "Unable to locate credentials; set AWS_ACCESS_KEY_ID"),
        (EndpointConnectionError(endpoint_url="http://nowhere"), 'endpoint URL: "http://nowhere"; check the network'),
        (refused("ExpiredToken", "The provided token has expired."), "The provided token has expired."),
        (refused("PermanentRedirect", "The bucket must be addressed elsewhere."), "must be addressed elsewhere"),
    ],
)
def test_what_an_object_store_s_client_raises_is_an_os_error(error, said):
    with pytest.raises(OSError, match=said), files.plain_errors():
        raise error


def test_a_file_system_raises_os_errors(tmp_path, monkeypatch):
    fs, path = files.file_system(str(tmp_path))
    assert fs.exists(path) and fs.ls(path) == [] and fs.protocol[0] == "file"

    def refuse(*arguments):
        raise NoCredentialsError

    monkeypatch.setattr(type(fs._fs), "ls", refuse)
    with pytest.raises(OSError, match="Unable to locate credentials"):
        fs.ls(path)


def test_an_error_of_ours_stays_what_it_is():
    with pytest.raises(KeyError), files.plain_errors():
        raise KeyError("a mistake in our code")


def test_without_credentials_there_is_a_sentence(s3_endpoint):
    code = """
from jobs.storage import files
for do in (lambda: files.read_bytes("s3://bucket/a"), lambda: files.write_bytes("s3://bucket/a", b"x")):
    try:
        do()
    except OSError as error:
        print(error)
"""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = kept | {"AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL_S3": s3_endpoint, "HOME": "/nowhere"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.count("Unable to locate credentials; set AWS_ACCESS_KEY_ID") == 2, done.stdout + done.stderr
