"""Every file below a folder, wherever it lies, and never all of them in memory."""

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from jobs.storage import walk

NAMES = ["1912/a.jpg", "1912/may/b ü+%41.jpg", "1912/may/c.jpg", "1913/a.jpg", "a.jpg", "z.jpg"]


@pytest.mark.parametrize("folder", ["scans", ""])
def test_s3_page_by_page(s3_endpoint, monkeypatch, folder):
    fs = fsspec.filesystem("s3")
    bucket = f"pages-{folder or 'all'}"
    root = f"{bucket}/{folder}".rstrip("/")
    fs.mkdir(bucket)
    for name in NAMES:
        fs.pipe_file(f"{root}/{name}", name.encode())
    if folder:
        fs.pipe_file(f"{bucket}/scans-2/a.jpg", b"of another folder")
    asked = []
    monkeypatch.setattr(walk, "PAGE", 2)
    monkeypatch.setattr(fs, "call_s3", lambda *args, **kw: asked.append(1) or type(fs).call_s3(fs, *args, **kw))
    found = dict(walk.below(fs, root))
    assert sorted(found) == [f"{root}/{name}" for name in NAMES] and len(asked) == 3
    for path, entry in found.items():
        info = fs.info(path)
        assert (entry["ETag"], entry["size"], entry["type"]) == (info["ETag"], info["size"], info["type"])


def test_of_others_a_folder_at_a_time(monkeypatch):
    fs = MemoryFileSystem()
    for name in NAMES:
        fs.pipe_file(f"/walked/{name}", b"x")
    listed = []
    monkeypatch.setattr(MemoryFileSystem, "find", lambda self, path, **kw: (
        listed.append(path) or fsspec.AbstractFileSystem.find(self, path, **kw)
    ))  # fmt: skip
    found = walk.below(fs, "/walked")
    paths = []
    for path, entry in found:
        assert entry["type"] == "file"
        paths.append(path)
        if path == "/walked/1912/a.jpg":
            assert "/walked/1913" not in listed
    assert sorted(paths) == [f"/walked/{name}" for name in NAMES] and sorted(listed) == ["/walked/1912", "/walked/1913"]
