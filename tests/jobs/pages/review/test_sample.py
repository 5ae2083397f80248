"""What the page shows of more photographs than a page can show, and what it says of all from that."""

import hashlib
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from jobs.pages.review import page as review_page
from jobs.pages.review import sample
from jobs.storage import catalog_stream
from jobs.storage.catalog import SCHEMA, Catalog
from jobs.storage.catalog_stream import CatalogStream
from tests.browser import serious
from tests.many_photographs import write_page

COUNT, FAILED = 2000, 100


def rows_of(count: int) -> list[dict]:
    """Of photographs in a folder for each hundred, as sure as by chance; of each tenth one, a failure."""
    rng, rows = np.random.default_rng(0), []
    for i in range(count):
        source = f"/archive/{i // 100:02d}/{i:05d}.jpg"
        row = {"id": hashlib.sha256(source.encode()).hexdigest()[:32], "source": source, "status": "ok"}
        if i % 10:
            row["confidence"] = float(np.float32(rng.random()))
        else:
            row |= {"status": "error" if i % 20 else "skipped", "error": f"it has {i} pages: colour it as TIFF"}
        rows.append(row)
    return rows


def write(output: str, *parts: list[dict]) -> CatalogStream:
    for part in parts:
        Catalog(output).append(pa.Table.from_pylist(part, SCHEMA))
    return CatalogStream(Catalog(output))


def chosen(stream: CatalogStream, places: list[int]) -> list[str]:
    by_place = dict(zip(sorted(places), stream.rows(["source"], places)["source"].to_pylist(), strict=True))
    return [by_place[place] for place in places]


@pytest.fixture
def small(monkeypatch):
    for name, value in {"DOUBTFUL": 30, "RANDOM": 40, "PER_FOLDER": 2, "EXAMPLES": 3}.items():
        monkeypatch.setattr(sample, name, value)


def test_the_doubtful_overall_and_of_each_folder_those_by_chance_and_reasons(tmp_path, small, monkeypatch):
    monkeypatch.setattr(catalog_stream, "PORTION", 77)
    rows = rows_of(2000)
    stream = write(str(tmp_path), rows[:1500], rows[1500:])
    found = sample.chosen(stream)
    assert found.counts == Counter(row["status"] for row in rows)
    coloured = sorted((row for row in rows if row["status"] == "ok"), key=lambda row: row["confidence"])
    assert chosen(stream, found.doubtful) == [row["source"] for row in coloured[:30]]
    folders = {row["source"].rpartition("/")[0]: [] for row in rows}
    for row in coloured:
        folders[row["source"].rpartition("/")[0]].append(row["source"])
    assert chosen(stream, found.folders) == [source for folder in folders.values() for source in folder[:2]]
    by_chance = sorted(coloured, key=lambda row: row["id"][16:])
    assert chosen(stream, found.random) == [row["source"] for row in by_chance[:40]]
    reasons = {(one.status, one.count, len(one.examples)) for one in found.reasons}
    assert reasons == {("skipped", 100, 3), ("error", 100, 3)}


def test_it_depends_on_the_photographs_alone(tmp_path, small):
    rows = rows_of(1000)
    whole = write(str(tmp_path / "whole"), rows)
    parts = write(str(tmp_path / "parts"), *(rows[i::7] for i in range(7)))
    a, b = sample.chosen(whole), sample.chosen(parts)
    for one, other in ((a.random, b.random), (a.doubtful, b.doubtful), (a.folders, b.folders)):
        assert chosen(whole, one) == chosen(parts, other)


def test_a_rows_newest_version_counts(tmp_path, small):
    rows = rows_of(1000)
    again = [row | {"status": "ok", "confidence": 0.0, "error": None} for row in rows[::10]]
    stream = write(str(tmp_path), rows, again[:50], again)
    assert not stream.more_than(1000) and stream.more_than(999)
    found = sample.chosen(stream)
    assert found.counts == {"ok": 1000} and found.reasons == []
    assert set(chosen(stream, found.doubtful)) < {row["source"] for row in again}


def test_a_large_file_is_read_in_portions(tmp_path, small, monkeypatch):
    rows = rows_of(1000)
    before = sample.chosen(write(str(tmp_path), rows[:900], rows[900:]))
    monkeypatch.setattr(catalog_stream, "SMALL", 0)
    monkeypatch.setattr(catalog_stream, "PORTION", 64)
    stream = CatalogStream(Catalog(str(tmp_path)))
    assert max(map(len, stream.portions(["id"]))) == 64
    found = sample.chosen(stream)
    assert found == before and chosen(stream, found.random) == chosen(
        CatalogStream(Catalog(str(tmp_path))), found.random
    )


def test_many_folders_count_as_those_that_they_lie_in(tmp_path, small, monkeypatch):
    monkeypatch.setattr(sample, "FOLDERS", 20)
    rows = [row | {"source": f"/archive/{i % 10}/{i % 500}/{i}.jpg"} for i, row in enumerate(rows_of(2000))]
    stream = write(str(tmp_path), rows)
    found = chosen(stream, sample.chosen(stream).folders)
    assert Counter(source.split("/")[2] for source in found) == {str(i): 2 for i in range(1, 10)}


@pytest.mark.parametrize(
    ("path", "folder", "name"),
    [
        ("1912/a.jpg", "1912", "a.jpg"), ("a.jpg", "", "a.jpg"), ("a#b/c.jpg", "a#b", "c.jpg"),
        ("s/00.tar#a.jpg", "s/00.tar#", "a.jpg"), ("00.parquet#12", "00.parquet#", "12"),
        ("00.tar#x/y/a#.tar#.jpg", "00.tar#x/y", "a#.tar#.jpg"), ("a\nb/c.jpg", "a\nb", "c.jpg"),
    ],
)  # fmt: skip
def test_a_shard_is_a_folder(path, folder, name):
    assert sample.folder_and_name(path) == (folder, name)


def test_the_page_says_what_it_shows_and_what_follows_from_those_by_chance(tmp_path, small, look):
    shown = look(write_page(tmp_path, COUNT, most=500, failed=FAILED))
    names = shown.names()
    page, coloured = shown.page, COUNT - FAILED
    assert f"{coloured:,} coloured, {FAILED} failed" in page.locator("#about").inner_text()
    said = page.locator("#sampled").inner_text()
    assert f"of {coloured:,} coloured" in said and "the 30 most doubtful" in said and "40 chosen by chance" in said
    options = page.locator("[name=show] option").all_inner_texts()
    assert "Chosen by chance (40)" in options and f"Failed ({FAILED})" in options
    estimate = page.locator("#estimate")
    assert estimate.inner_text().startswith("Judge those chosen by chance")

    shown.choose("show", "doubtful")
    assert shown.names()[:5] == names[:5] and page.locator("#said").inner_text() == "30 photographs"
    page.locator(".card .open").first.focus()
    page.keyboard.press("r")
    assert "Judge those" in estimate.inner_text() or "you have judged 1 " in estimate.inner_text()

    shown.choose("show", "random")
    by_chance = sorted(
        (hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(coloured)), key=lambda id: id[16:]
    )
    assert page.evaluate("() => chosen.map((row) => data.id[row])") == by_chance[:40]
    assert page.locator("[name=order]").is_disabled()
    page.locator(".card .open").first.focus()
    for key in "rkkkrkkkrkk" + "k" * 29:
        page.keyboard.press(key)
    assert estimate.inner_text() == (
        "Of 40 chosen by chance you have judged 40 and rejected 3: between 2.6 % and 20 % of all "
        f"{coloured:,} would be rejected, with 95 % confidence."
    )
    page.locator(".card .open").first.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("k")  # takes it back, and a gap is there
    assert "you have judged 1 and rejected 1" in estimate.inner_text() and "38 further on" in estimate.inner_text()

    shown.choose("show", "error")
    reasons = page.locator("#reasons summary")
    assert reasons.count() == 1 and reasons.inner_text().startswith(f"{FAILED} ")
    reasons.click()
    assert page.locator("#reasons li").last.inner_text() == f"… and {FAILED - 3} more: the catalogue has them"
    assert shown.problems == [] and serious(shown) == []


def test_a_page_of_all_says_nothing_of_samples(tmp_path, look):
    shown = look(write_page(tmp_path, 50, most=50))
    assert len(shown.names()) and shown.page.locator("#sampled, #estimate").filter(visible=True).count() == 0
    assert shown.page.locator("[name=show] option").all_inner_texts()[0] == "All coloured (50)"


def test_a_page_is_written_again_only_where_something_changed(tmp_path):
    page = write_page(tmp_path, 300, most=100)
    at = (page.parent / "rows.js").stat().st_mtime_ns
    review_page.write(str(tmp_path), most=100)
    assert (page.parent / "rows.js").stat().st_mtime_ns == at
