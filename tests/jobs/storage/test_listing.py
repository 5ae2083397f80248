import os

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiobotocore.endpoint import AioEndpoint
from botocore.exceptions import EndpointConnectionError

from jobs.cli import UsageError
from jobs.storage import files, listing


@pytest.fixture
def archive(tmp_path):
    for path in ("1912/a.jpg", "1912/a.tif", "b ü [1].png"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(path.encode())
    return tmp_path


def paths(source) -> list[str]:
    return [file.path for file in listing.list_sources(str(source))]


def test_a_folder_is_listed_recursively_and_in_order(archive):
    assert (
        paths(archive)
        == paths(f"{archive}/")
        == paths(f"file://{archive}")
        == ["1912/a.jpg", "1912/a.tif", "b ü [1].png"]
    )
    assert [files.read_bytes(file.uri).decode() for file in listing.list_sources(str(archive))] == paths(archive)


def test_a_single_file_and_a_glob(archive):
    assert paths(archive / "1912/a.tif") == ["a.tif"]
    assert paths(archive / "1912/*.jpg") == ["a.jpg"]
    assert paths(archive / "*/a.*") == ["1912/a.jpg", "1912/a.tif"]
    assert paths(archive / "b ü [1].png") == ["b ü [1].png"], "brackets in a file's name are not a glob"


def test_a_version_changes_with_the_file(archive):
    path = archive / "1912/a.jpg"
    before = listing.list_sources(str(path))[0].version
    os.utime(path, (1, 1))
    assert listing.list_sources(str(path))[0].version != before


@pytest.mark.parametrize(
    "source, said", [("nowhere", "does not exist"), ("", "holds no files"), ("*.gif", "holds no files")]
)
def test_what_cannot_be_listed_is_said(tmp_path, source, said):
    with pytest.raises(UsageError, match=said):
        listing.list_sources(str(tmp_path / source))


def test_that_nobody_answers_at_an_endpoint_is_said_soon(s3_endpoint, monkeypatch):
    tries = []

    async def nobody(self, request):
        tries.append(request.url)
        raise EndpointConnectionError(endpoint_url=request.url)

    monkeypatch.setattr(AioEndpoint, "_send", nobody)
    with pytest.raises(UsageError, match=r"Could not connect to the endpoint URL.*AWS_ENDPOINT_URL"):
        listing.list_sources("s3://nobody/scans")
    assert len(tries) == 2


def test_a_store_that_has_too_much_to_do_is_asked_again(s3_endpoint, monkeypatch):
    s3, tries, send = fsspec.filesystem("s3"), [], AioEndpoint._send
    s3.mkdir("busy")
    s3.pipe_file("busy/scans/a.png", b"x")

    async def busy(self, request):
        tries.append(request.url)
        response = await send(self, request)
        response.status_code = 503 if len(tries) <= 3 else response.status_code
        return response

    monkeypatch.setattr(AioEndpoint, "_send", busy)
    assert paths("s3://busy/scans") == ["a.png"]


def test_an_unknown_protocol_is_said():
    with pytest.raises(UsageError, match=r"gopher://example/photos cannot be reached \(Protocol not known: gopher\)"):
        listing.list_sources("gopher://example/photos")


def test_a_list_in_another_encoding_is_said(tmp_path):
    (tmp_path / "list.csv").write_bytes("uri\nZürich.jpg\n".encode("latin-1"))
    with pytest.raises(UsageError, match="does not name files in UTF-8"):
        listing.list_sources(str(tmp_path / "list.csv"))
    (tmp_path / "list.csv").write_text("uri\n")
    with pytest.raises(UsageError, match="names no files"):
        listing.list_sources(str(tmp_path / "list.csv"))


def test_written_files_are_whole_or_absent(tmp_path, monkeypatch):
    target = tmp_path / "deep/er/x.png"
    files.write_bytes(str(target), b"first")

    def full(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError):
        files.write_bytes(str(target), b"second")
    assert target.read_bytes() == b"first"
    assert [path.name for path in target.parent.iterdir()] == ["x.png"], "a leftover"


def test_a_file_uri_is_a_path_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.write_bytes(f"file://{tmp_path}/out/x.png", b"x")
    assert (tmp_path / "out/x.png").read_bytes() == b"x"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert files.absolute("out/") == files.absolute(f"file://{tmp_path}/out") == str(tmp_path / "out")
    assert files.absolute("s3://bucket/out/") == "s3://bucket/out"
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a/b")
    for uri in ("link/../b/.//c", f"{tmp_path}/out/../a/b/c/", "a/./b/../../a/b/c", f"/../{tmp_path}/a/b/c"):
        assert files.absolute(uri) == str(tmp_path / "a/b/c")
    assert files.absolute("..") == str(tmp_path.parent) and files.absolute("/..") == files.absolute("/") == "/"
    assert files.absolute("link/.hidden..") == str(tmp_path / "link/.hidden..")


def test_written_through_any_file_system():
    files.write_bytes("memory://bucket/a/b.png", b"x")
    assert fsspec.filesystem("memory").cat("/bucket/a/b.png") == b"x"


@pytest.mark.parametrize("kind", ["txt", "csv", "parquet"])
def test_a_list_names_files(archive, tmp_path_factory, kind):
    folder = tmp_path_factory.mktemp("list")
    (folder / "near.png").write_bytes(b"near")
    names = [f"{archive}/1912/a.jpg", "near.png", f"file://{archive}/1912/a.tif", "gone.png", "../outside.png"]
    path = folder / f"list.{kind}"
    if kind == "txt":
        path.write_text("\n".join([*names, "", names[0]]))
    elif kind == "csv":
        path.write_text("title,uri\n" + "".join(f"x,{name}\n" for name in names))
    else:
        pq.write_table(pa.table({"title": ["x"] * 5, "uri": names}), path)
    found = {file.path: file for file in listing.list_sources(str(path))}
    jpeg, tiff = f"{archive}/1912/a.jpg".lstrip("/"), f"{archive}/1912/a.tif".lstrip("/")
    outside = f"{folder.parent}/outside.png".lstrip("/")
    assert set(found) == {jpeg, tiff, "near.png", "gone.png", outside}, "no path leads out of OUTPUT"
    assert files.read_bytes(found[jpeg].uri) == b"1912/a.jpg"
    assert files.read_bytes(found["near.png"].uri) == b"near"
    assert found[tiff].version and not found["gone.png"].version, "what does not exist is listed too"
    path.write_bytes(b"") if kind == "txt" else path.write_bytes(path.read_bytes())
    if kind == "txt":
        with pytest.raises(UsageError, match="names no files"):
            listing.list_sources(str(path))


def test_printable_names_lead_back_to_the_file():
    """And no two of them are the same."""
    names = [
        os.fsdecode(b"caf\xe9/\xff.png"),
        "spa\u00df \u6771\u4eac.png",
        r"C:\users\udo.png",
        r"caf\udce9/\udcff.png",
    ]
    names += [r"\u005cudcff", r"\\udcff", "\\\udcff"]
    for name in names:
        assert files.unprintable(files.printable(name)) == name
    assert files.printable(names[0]) == r"caf\udce9/\udcff.png" and files.printable(names[2]) == names[2]


def test_a_list_names_each_file_once_and_never_one_for_another(tmp_path):
    """However it spells them; what lies elsewhere is not what lies beside the list."""
    (tmp_path / "lists/sub").mkdir(parents=True)
    (tmp_path / "lists/list.txt").write_text(
        "a.png\n./a.png\nsub/../a.png\nsub//b.png\nsub/b.png\n../a.png\n../lists/a.png\n"
    )
    found = {file.path: file.uri for file in listing.list_sources(str(tmp_path / "lists/list.txt"))}
    elsewhere = f"{tmp_path}/a.png"
    assert found == {
        "a.png": f"{tmp_path}/lists/a.png", "sub/b.png": f"{tmp_path}/lists/sub/b.png", elsewhere[1:]: elsewhere
    }  # fmt: skip
    os.symlink(tmp_path, tmp_path / "lists/linked")
    (tmp_path / "lists/list.txt").write_text("a.png\nlinked/../a.png\n")
    assert len(listing.list_sources(str(tmp_path / "lists/list.txt"))) == 2, ".. of a link is not where the link lies"


def test_a_list_in_a_bucket_keeps_its_names():
    bucket = fsspec.filesystem("memory")
    bucket.pipe_file("/bucket/lists/list.txt", b"x/a.png\nx//a.png\n./x/a.png\n../a.png\n")
    found = {file.path: file.uri for file in listing.list_sources("memory://bucket/lists/list.txt")}
    assert found == {
        "x/a.png": "memory:///bucket/lists/x/a.png",
        "x//a.png": "memory:///bucket/lists/x//a.png",
        "bucket/a.png": "memory:///bucket/a.png",
    }


@pytest.mark.parametrize("first", ["a.png", "sub/scan", "scan"])
def test_a_csv_file_without_a_header_loses_nothing(tmp_path, first):
    (tmp_path / "scan").write_bytes(b"x")
    (tmp_path / "list.csv").write_text(f"{first},1912\nb.png,1913\n")
    assert paths(tmp_path / "list.csv") == sorted([first, "b.png"])
    (tmp_path / "list.csv").write_text(f"file,year\n{first},1912\n")
    assert paths(tmp_path / "list.csv") == [first]


def test_a_list_that_windows_has_marked(tmp_path):
    (tmp_path / "list.txt").write_text("a.png\r\nb.png\r\n", encoding="utf-8-sig")
    assert paths(tmp_path / "list.txt") == ["a.png", "b.png"]


def test_linked_folders_are_followed_once_and_broken_links_are_listed(archive, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "deep").mkdir()
    for name in ("c.png", "deep/d.png"):
        (elsewhere / name).write_bytes(b"x")
    for name, place in {
        "again": archive / "1912",  # it is there anyway
        "round": archive,
        "linked": elsewhere,
        "linked twice": elsewhere / "deep",
        "itself.png": "itself.png",
        "broken.png": "nowhere.png",
        "file.png": elsewhere / "c.png",
    }.items():
        os.symlink(place, archive / name)
    os.symlink(archive, elsewhere / "back")
    found = paths(archive)
    assert found == [
        "1912/a.jpg", "1912/a.tif", "b ü [1].png", "broken.png", "file.png", "itself.png", "linked/c.png",
        "linked/deep/d.png",
    ]  # fmt: skip
    with pytest.raises(OSError, match=r"it is a link to nowhere.png, which is not there"):
        files.read_bytes(str(archive / "broken.png"))
    assert paths(archive / "*.png") == ["b ü [1].png", "broken.png", "file.png", "itself.png"]
    with pytest.raises(UsageError, match=r"is a link to nowhere.png, which is not there"):
        paths(archive / "broken.png")


def test_names_in_a_bucket_are_listed_as_they_are(s3_endpoint):
    """Consoles mark "folders" by empty objects; names are told as they are, and judged later."""
    s3 = fsspec.filesystem("s3")
    s3.mkdir("names")
    for name in ("scans/", "scans/x/", "scans/x/a.png", "scans/x//a.png", "scans//b.png"):
        s3.call_s3("put_object", Bucket="names", Key=name, Body=b"" if name.endswith("/") else b"x")
    assert paths("s3://names/scans") == ["/b.png", "x//a.png", "x/a.png"]


def test_what_is_covered_is_by_any_name_of_its_file_system(s3_endpoint, tmp_path):
    assert listing.covers("s3://bucket/scans", "s3a://bucket/scans/out/images/a.png")
    assert not listing.covers("s3://bucket/scans", "s3a://bucket/scans-colour/a.png")
    assert not listing.covers("s3://tmp", "/tmp/a.png") and not listing.covers(str(tmp_path), f"s3:/{tmp_path}/a.png")


def test_a_list_ends_its_lines_as_files_do(tmp_path):
    (tmp_path / "list.txt").write_bytes("a\u2028b.png\r\nc\x0bd.png\n".encode())
    assert paths(tmp_path / "list.txt") == ["a\u2028b.png", "c\x0bd.png"]
