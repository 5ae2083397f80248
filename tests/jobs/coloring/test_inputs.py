"""The files of SOURCE in parts that fit into memory: the same files, ids and refusals as all at once."""

import os

import pyarrow as pa
import pytest

from jobs.cli import UsageError
from jobs.coloring import inputs
from jobs.coloring.identity import identified, told_apart
from jobs.coloring.inputs import Inputs
from jobs.storage import listing
from jobs.storage.parts import WHOLE, Part

NAMES = ["x", "x.png/y.jpg", "y/1.jpg", "y/2.jpg", "y.jpg/z.jpg", *(f"box/{i}.jpg" for i in range(60))]


@pytest.fixture
def scans(tmp_path):
    for name in NAMES:
        path = tmp_path / "scans" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "scans"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(inputs, "MOST", 15)
    monkeypatch.setattr(listing, "FILES", 7)


def columns(files: pa.Table, refused: pa.Table) -> tuple[list, list]:
    return tuple(table.sort_by("uri").combine_chunks().to_pylist() for table in (files, refused))


@pytest.mark.parametrize("part", [WHOLE, Part(1, 2)])
def test_what_is_too_much_for_memory_comes_in_parts(scans, part):
    expected = map(part.rows, identified(listing.listing(str(scans)), "png", False))
    with Inputs(str(scans), "/elsewhere", part, folds_names=False) as given:
        assert given.total == len(NAMES) and given.whole is None and len(given.parts) > 1
        tables = [told_apart(given.share(sub).files, "png", False, given.folders) for sub in given.parts]
        for sub, (files, refused) in zip(given.parts, tables, strict=True):
            assert sub.rows(files).equals(files) and sub.rows(refused).equals(refused), "also what is refused"
            assert len(files) + len(refused) <= 15
            assert files["path"].to_pylist() == sorted(files["path"].to_pylist())
        files, refused = (pa.concat_tables(some) for some in zip(*tables, strict=True))
    assert columns(files, refused) == columns(*expected)
    if part == WHOLE:
        assert "like a folder" in refused["problem"][0].as_py(), "of another part"


def test_all_are_in_memory_where_any_two_may_share_an_output(scans):
    (scans / "BOX").mkdir()
    (scans / "BOX/1.jpg").touch()
    with Inputs(str(scans), "/elsewhere", Part(1, 2), folds_names=True) as given:
        assert given.parts == [Part(1, 2)] and len(given.whole) == given.total == len(NAMES) + 1
        refused = told_apart(given.whole, "png", True, given.folders)[1]
    assert sum("take the place of" in problem for problem in refused["problem"].to_pylist()) == 1


def test_what_lies_in_output_is_refused_wherever_it_is_listed(scans, tmp_path):
    (scans / "zzz").symlink_to(tmp_path / "out/images")
    (tmp_path / "out/images").mkdir(parents=True)
    (tmp_path / "out/images/a.png").touch()
    with pytest.raises(UsageError, match="leads into"):
        Inputs(str(scans), str(tmp_path / "out"), WHOLE, folds_names=False)


def test_a_mount_hides_output_no_more_than_a_link_does(scans, tmp_path, monkeypatch):
    """As where a container has both in places of their own, one within the other."""
    (scans / "colour/images/1912").mkdir(parents=True)
    (scans / "colour/images/1912/a.jpg.png").touch()
    (tmp_path / "out").symlink_to(scans / "colour")
    monkeypatch.setattr(os.path, "realpath", os.path.abspath)  # of which a mount is the end
    with pytest.raises(UsageError, match=r"colour/images/1912/ leads into .*/out: choose"):
        Inputs(str(scans), str(tmp_path / "out"), WHOLE, folds_names=False)


@pytest.mark.parametrize("folder", ["images", "variants/2", "confidence"])
def test_no_link_leads_what_is_written_among_the_originals(scans, tmp_path, folder):
    (tmp_path / "out" / folder).mkdir(parents=True)
    Inputs(str(scans), str(tmp_path / "out"), WHOLE, folds_names=False)
    (tmp_path / "out" / folder / "box").symlink_to(scans / "y")
    with pytest.raises(UsageError, match=rf"{folder}/box/ leads to .*/scans/y/: remove that link"):
        Inputs(str(scans), str(tmp_path / "out"), WHOLE, folds_names=False)


def test_a_disk_that_is_full_is_said(scans, monkeypatch):
    def full(self, rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(inputs.Spool, "add", full)
    with pytest.raises(UsageError, match=r"No space left on device.*: see to its free space, or set TMPDIR"):
        Inputs(str(scans), "/elsewhere", WHOLE, folds_names=False)
