"""N parts of an archive: each id is in one of them, about as many in each; of different N they overlap as fractions do.
Jobs that share an archive by them make of it what one job does.
"""

import hashlib
import json
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs import cli, colorize
from jobs.cli import UsageError
from jobs.coloring import inputs
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.job import source_id
from jobs.storage.catalog import Catalog
from jobs.storage.output import Place
from jobs.storage.parts import WHOLE, Part, cover

IDS = pa.array([hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(3000)])
pytestmark = pytest.mark.usefixtures("all_beside")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 1000])
def test_every_id_belongs_to_one_part_and_parts_are_alike(count):
    parts = [Part(number, count) for number in range(1, count + 1)]
    odd = pa.array(["", "0" * 32, "f" * 32, "5" * 32, "no id at all"])
    assert Counter(id for part in parts for id in odd.filter(part.holds(odd)).to_pylist()) == Counter(odd.to_pylist())
    sizes = [sum(part.holds(IDS).to_pylist()) for part in parts]
    assert sum(sizes) == len(IDS)
    assert all(abs(size - len(IDS) / count) < 5 * (len(IDS) / count) ** 0.5 + 1 for size in sizes)


def test_what_overlaps_and_what_covers():
    assert Part(1, 4).overlaps(Part(1, 2)) and Part(2, 3).overlaps(Part(1, 2)) and WHOLE.overlaps(Part(7, 9))
    assert not Part(1, 2).overlaps(Part(2, 2)) and not Part(1, 2).overlaps(Part(3, 4))
    assert Part(1, 2).covers(Part(2, 4)) and not Part(1, 2).covers(Part(2, 3)) and Part(2, 3).covers(Part(4, 6))
    among = Part(1, 2).among(IDS.to_pylist())
    assert among == Part(1, 4).among(among) | Part(2, 4).among(among), "a part's halves"
    assert cover([Part(3, 3), Part(1, 2), Part(2, 3)], WHOLE) and cover([Part(2, 4)], Part(2, 4))
    assert not cover([Part(1, 3), Part(3, 3)], WHOLE) and not cover([Part(1, 3), Part(2, 3)], WHOLE)
    assert not cover([], WHOLE)


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "1/0", "a/b", "-1/4", "1/4/2", ""])
def test_what_is_no_part(text):
    with pytest.raises(UsageError, match="--part must be one of 1/N to N/N, such as 3/16, not "):
        Part.parse(text)
    assert Part.parse("3/16") == Part(3, 16)


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("archive") / "scans"
    (folder / "sub").mkdir(parents=True)
    for i in range(9):
        Image.fromarray(np.full((32, 40 + i), 90, np.uint8)).save(folder / f"sub/{i}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


@pytest.fixture(scope="module")
def undivided(all_beside, scans, tmp_path_factory) -> Path:
    """What one job makes of them."""
    output = tmp_path_factory.mktemp("undivided")
    assert run(scans, output) == cli.SOME_ERRORS
    return output


def run(source, output, **options) -> int:
    return colorize.main(ColorizeConfig(source=str(source), output=str(output), **options))


def result(output) -> tuple[list[dict], dict[str, bytes]]:
    """Rows, as a reader of the bare files finds them, without what two runs differ in; and pictures."""
    rows = pq.read_table(f"{output}/catalog").sort_by("source").to_pylist()
    rows = [{name: row[name] for name in row if name not in ("seconds", "finished_at", "output")} for row in rows]
    pictures = (path for path in Path(output, "images").rglob("*") if path.is_file())
    return rows, {str(path.relative_to(output)): path.read_bytes() for path in pictures}


def inputs_of(said: str) -> tuple[int, int]:
    """How many inputs a job said that its part has, and how many of them it had done already."""
    numbers = [word for word in said.partition("inputs, ")[0].rpartition("part ")[2].split() if word.isdigit()]
    return int(numbers[0]), int(said.partition("inputs, ")[2].split()[0])


def test_one_after_the_other_whole_again_and_in_other_parts(scans, undivided, tmp_path, capsys):
    out = tmp_path / "out"
    sizes = []
    for part in ("1/3", "2/3", "3/3"):
        run(scans, out, part=part)
        said = capsys.readouterr().out
        sizes.append(inputs_of(said)[0])
        assert f"part {part}: " in said and f"by python -m jobs.review {out}" in said
    assert sum(sizes) == 10 and result(out) == result(undivided)
    assert not (out / "review/index.html").exists()
    for part in ("2/3", "1/2", "5/7"):
        run(scans, out, part=part)
        found, done = inputs_of(capsys.readouterr().out)
        assert found == done, "done, whichever job did it"
    assert len(Catalog(str(out)).read()) == 10, "in the files of parts of different sizes"
    run(scans, out, review=False)
    assert "10 inputs, 10 already done" in capsys.readouterr().out
    assert result(out) == result(undivided) and len(list((out / "catalog").iterdir())) == 1
    assert not list(out.glob("*.lease*"))


def test_at_the_same_time(scans, undivided, tmp_path):
    out, statuses = tmp_path / "out", {}

    def work(number: int) -> None:
        statuses[number] = run(scans, out, part=f"{number}/2")

    jobs = [threading.Thread(target=work, args=[number]) for number in (1, 2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert sorted(statuses.values()) == [cli.OK, cli.SOME_ERRORS]
    assert result(out) == result(undivided)


def test_a_part_does_what_it_is_asked_to_of_its_own_photographs(scans, undivided, tmp_path, capsys):
    """Decisions and hints come in one list for the whole archive."""
    out, ids = tmp_path / "out", {f"sub/{i}.png": source_id(f"sub/{i}.png") for i in range(9)}
    run(scans, out, review=False)
    first = Part(1, 2).among(ids.values())
    assert 0 < len(first) < 9
    decisions = tmp_path / "decisions.csv"
    decisions.write_text("id,decision\n" + "".join(f"{id},redo\n" for id in ids.values()))
    capsys.readouterr()
    run(scans, out, part="1/2", only=str(decisions), if_text="skip", review=False)
    assert f"{len(first)} will be coloured again: {len(first)} to be done again" in capsys.readouterr().out
    decisions.write_text(f"id,decision\n{min(ids.values())},keep\n{max(ids.values())},reject\n{'f' * 32},redo\n")
    run(scans, out, part="1/2", only=str(decisions), review=False)
    rows = pq.read_table(f"{out}/catalog").sort_by("finished_at").to_pylist()
    said = {row["id"]: row["decision"] for row in rows}  # of two rows of a photograph the later one
    assert said[min(ids.values())] == "keep" and said[max(ids.values())] is None
    with pytest.raises(UsageError, match="is about 1 photographs that"):
        run(scans, out, part="2/2", only=str(decisions))


def test_a_part_is_refused_while_all_is_worked_on(scans, tmp_path):
    out = tmp_path / "out"
    with Place(str(out)).claim("archive", str(scans)), pytest.raises(UsageError, match="another job works on"):
        run(scans, out, part="1/2")
    with pytest.raises(UsageError, match="--format parquet"):
        run(scans, out, part="1/2", format="parquet")
    with pytest.raises(UsageError, match="--part must be"):
        run(scans, out, part="3/2")


def test_what_does_not_fit_into_memory_is_done_in_parts(scans, undivided, tmp_path, capsys, monkeypatch):
    """Without more parts than that, and with one summary."""
    monkeypatch.setattr(inputs, "MOST", 4)
    out = tmp_path / "out"
    assert run(scans, out, json=True) == cli.SOME_ERRORS
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (
        found["inputs"] == 10
        and found["status"] == {"ok": 9, "error": 1, "skipped": 0}
        and found["kind"] == {"grey": 9}
    )
    assert len(found["doubtful"]) == 3 and len(found["reasons"]) == 1 and found["review"] == f"{out}/review/index.html"
    assert said.err.count(" of 10 inputs, 0 already done") == 4
    assert result(out) == result(undivided)

    run(scans, out, dry_run=True)
    assert "0 to colour (none)" in capsys.readouterr().out
    decisions = tmp_path / "decisions.csv"
    decisions.write_text(f"id,decision\n{source_id('sub/0.png')},redo\n{'f' * 32},redo\n")
    before = result(out)
    with pytest.raises(UsageError, match="is about 1 photographs that"):
        run(scans, out, only=str(decisions))
    assert result(out) == before, "nothing was done"
    decisions.write_text(f"id,decision\n{source_id('sub/0.png')},redo\n{source_id('sub/1.png')},keep\n")
    run(scans, out, only=str(decisions), dry_run=True)
    assert "1 to colour (1 to be done again)" in capsys.readouterr().out
    assert run(scans, out, part="1/2") in (cli.OK, cli.SOME_ERRORS), "a part that is too large in turn"
    assert "0 will be" not in capsys.readouterr().out

    monkeypatch.setattr(inputs, "MOST", 100)
    run(scans, out, review=False)
    assert "10 inputs, 10 already done" in capsys.readouterr().out
    assert result(out) == result(undivided) and len(list((out / "catalog").iterdir())) == 1


def test_parquet_files_hold_photographs_of_several_parts(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "MOST", 6)
    for _ in range(2):
        run(scans, tmp_path / "out", format="parquet", review=False)
        images = pq.read_table(tmp_path / "out/parquet")
        assert sorted(images["source"].to_pylist()) == sorted(map(str, scans.rglob("sub/*.png")))
