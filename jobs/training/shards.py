"""Photographs for training, stored once: decoded, checked, resized, in Parquet shards of JPEG bytes.

The shards form one sequence, ordered by a hash of the photographs' names. So a split is a stretch of the sequence,
the same for the same names, and neighbours in it have nothing to do with each other.
"""

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.cli import UsageError
from jobs.pages import decisions
from jobs.storage import listing
from jobs.storage.files import file_system, printable, read_bytes, write_bytes
from jobs.storage.output import Place
from jobs.training.reviewed import GROUP, Correction

SPLITS = ("train", "validation", "test")
PHOTOGRAPHS_PER_TASK = 512
PHOTOGRAPHS_PER_ROW_GROUP = 32  # small, since training reads short stretches
SUMMARY = "summary.json"
MAY_GROW = {"files": "the number of files has", "corrections": "what people say of the colours has"}
"""Of what shards were made from, what may be otherwise when a run is continued."""
COLUMNS = ["key", "name", "group", "image"]  # of a shard


def class_of(path: str) -> str:
    """Of a photograph, by its path: what stands before the number, as in Oxford-IIIT Pet, or else its folder."""
    *folders, name = path.split("/")
    numbered = re.fullmatch(r"(.+)_\d+\.\w+", name)
    return numbered[1] if numbered else "".join(folders[-1:])


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is made of the photographs; training cuts its crops from that."""

    source: str
    side: int
    """Shorter side of what is stored, in pixels."""
    split: tuple[float, float, float]
    """Training, validation and test: shares that add up to 1, or counts."""
    only: tuple[str, ...] = ()
    """Classes to use; all of them where it is empty."""
    balance: str | None = None
    """Column of the Parquet files, or "class", that is kept for balancing."""
    min_chroma: float = 2.0
    """Mean absolute ab, in CIE units, below which a photograph counts as grey."""
    hold_out: tuple[str, ...] = ()
    """Values of that column whose photographs are all validated on; for a split into shares."""
    reviewed: tuple[str, ...] = ()
    """Archives whose corrections are among the photographs; for a split into shares."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A sequence of photographs in ``folder``: training, then validation, then test."""

    folder: str
    parts: list[list]
    """[name, photographs] of each shard, in order."""
    counts: dict[str, int]
    """Photographs per split."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Photographs that are not in the sequence, by reason."""
    groups: dict[str, int] = field(default_factory=dict)
    """Photographs per value of the column for balancing."""

    def stretch(self, split: str) -> range:
        """Indices of a split in the sequence."""
        stops = list(accumulate(self.counts[name] for name in SPLITS))
        stop = stops[SPLITS.index(split)]
        return range(stop - self.counts[split], stop)

    def take(self, indices: np.ndarray | range) -> pa.Table:
        """The photographs at these places of the sequence, in this order: ``image`` (JPEG bytes), ``group``, ``name``.

        Reads the row groups that hold them and nothing else.
        """
        indices = np.asarray(indices, np.int64)
        fs, root = file_system(self.folder)
        tables, first, places = [], 0, np.empty(len(indices), np.int64)
        found = 0
        for name, rows in self.parts:
            here = np.flatnonzero((indices >= first) & (indices < first + rows))
            if len(here):
                wanted = indices[here] - first
                groups = np.unique(wanted // PHOTOGRAPHS_PER_ROW_GROUP)
                with fs.open(f"{root}/{name}", "rb") as file:
                    table = pq.ParquetFile(file).read_row_groups(groups.tolist(), columns=["image", "group", "name"])
                group = np.searchsorted(groups, wanted // PHOTOGRAPHS_PER_ROW_GROUP)
                tables.append(table.take(group * PHOTOGRAPHS_PER_ROW_GROUP + wanted % PHOTOGRAPHS_PER_ROW_GROUP))
                places[here] = found + np.arange(len(here))
                found += len(here)
            first += rows
        return pa.concat_tables(tables).take(places) if tables else pa.table({"image": [], "group": [], "name": []})


def prepare(
    files: list[listing.Source], folder: str, recipe: Preparation, corrections: Sequence[Correction] = ()
) -> Prepared:
    """Turn the files of a source into shards in ``folder``, once: where they are, nothing is done again, also where the
    source holds other files by now.

    ``corrections`` join them; those that are known at some places alone are all trained on.

    Raises ``UsageError`` where the photographs do not suffice for the split, or where the folder holds the shards of
    something else.
    """
    import ray

    fs, root = file_system(folder)
    made_from = json.loads(json.dumps(asdict(recipe) | {"files": len(files)}))
    if corrections:
        made_from["corrections"] = hashlib.sha256(
            json.dumps(corrections).encode("utf-8", "backslashreplace")
        ).hexdigest()
    if fs.exists(f"{root}/{SUMMARY}"):
        before = json.loads(fs.cat_file(f"{root}/{SUMMARY}"))["made_from"]
        if changed := [what for key, what in MAY_GROW.items() if before.get(key) != made_from.get(key)]:
            print(
                f"{' and '.join(changed)} changed since the photographs were prepared; this run goes on with "
                "those of then, one of another --name begins with those of now",
                flush=True,
            )
        for key, value in made_from.items():
            if value != before.get(key) and key not in MAY_GROW:
                raise UsageError(
                    f"{folder} was prepared with {key} = {before.get(key)}, not {value}: choose another --name"
                )
        return read(folder)

    groups = [[file] for file in files if file.uri.endswith(".parquet")]
    photographs = [file for file in files if not file.uri.endswith(".parquet")]
    chosen = [file for file in photographs if not recipe.only or _is_of(file.path, recipe.only)]
    groups += [chosen[i : i + PHOTOGRAPHS_PER_TASK] for i in range(0, len(chosen), PHOTOGRAPHS_PER_TASK)]
    if not groups:
        there = sorted({class_of(file.path) for file in photographs})
        raise UsageError(
            f"{recipe.source} holds no photographs of class {', '.join(recipe.only)}: "
            f"there are {', '.join(there[:10])}{', ...' if len(there) > 10 else ''}"
        )
    items: list[dict] = [
        {"uris": [file.uri for file in group], "paths": [file.path for file in group], "hints": []} for group in groups
    ]
    for i in range(0, len(corrections), PHOTOGRAPHS_PER_TASK):
        some = corrections[i : i + PHOTOGRAPHS_PER_TASK]
        item = {"uris": [one.uri for one in some], "paths": [one.name for one in some]}
        items.append(item | {"hints": [json.dumps(one.hints) for one in some]})
    parts = (
        ray.data.from_items(items, override_num_blocks=len(items))
        .flat_map(_photographs, fn_args=[recipe])  # type: ignore[arg-type]  # Ray's types know nothing of fn_args
        .sort("key")
        .map_batches(
            _write_part,  # type: ignore[arg-type]  # nor here
            batch_size=None,
            batch_format="pyarrow",
            fn_args=[folder, _thresholds(recipe.split)],
        )
        .take_all()
    )
    parts.sort(key=lambda part: part["file"])
    left_out = sum((Counter(json.loads(part["left_out"])) for part in parts), Counter())
    total = sum(part["rows"] for part in parts)
    if recipe.split[0] < 1:
        stops = [sum(part[split] for part in parts) for split in SPLITS[:2]]
        counts = [stops[0], stops[1] - stops[0], total - stops[1]]
    else:
        counts = [int(count) for count in recipe.split]
    reasons = f"(left out: {', '.join(f'{n:,} {why}' for why, n in left_out.most_common()) or 'none'})"
    if sum(counts) > total:
        raise UsageError(
            f"--split asks for {sum(counts):,} photographs, {recipe.source} gives {total:,} {reasons}: "
            "ask for fewer or give more"
        )
    for split, count, asked in zip(SPLITS, counts, recipe.split, strict=True):
        if asked and not count:
            raise UsageError(
                f"{recipe.source} leaves no photographs for the {split} split {reasons}: give more colour "
                "photographs, or another --split"
            )
    prepared = {
        "parts": [[part["file"], part["rows"]] for part in parts if part["rows"]],
        "counts": dict(zip(SPLITS, counts, strict=True)),
        "left_out": dict(left_out.most_common()),
        "groups": dict(sum((Counter(json.loads(part["groups"])) for part in parts), Counter())),
    }
    summary = json.dumps({"made_from": made_from} | prepared, indent=1)
    write_bytes(f"{folder}/{SUMMARY}", summary.encode())
    _sweep(folder, {part["file"] for part in parts})
    return read(folder)


def read(folder: str) -> Prepared:
    """What ``prepare`` made before."""
    summary = json.loads(read_bytes(f"{folder}/{SUMMARY}"))
    del summary["made_from"]
    return Prepared(folder, **summary)


def _sweep(folder: str, parts: set[str]) -> None:
    """Delete shards that an interrupted preparation left."""
    place = Place(folder)
    for path in place.files(""):
        if path.rpartition("/")[2] not in parts | {SUMMARY}:
            place.remove(path, lambda data: pq.read_schema(pa.BufferReader(data)).names == COLUMNS)


def _thresholds(split: tuple[float, float, float]) -> tuple[int, int]:
    """Keys at which training and validation end, for a split into shares."""
    return int(split[0] * 2**63), int((split[0] + split[1]) * 2**63)


def _key(name: str) -> int:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def _is_of(path: str, classes: tuple[str, ...]) -> bool:
    return bool({class_of(path), *path.split("/")[:-1]} & set(classes))


def _photographs(row: dict, recipe: Preparation) -> Iterator[dict]:
    """A row for each photograph in a task's files; what is left out has a reason and no image."""
    from colorize_core import training  # imports PyTorch, which the processes that only read shards do without

    start, stop = _thresholds(recipe.split) if recipe.split[0] < 1 else (0, 0)
    for name, group, data, hints in _encoded(row, recipe):
        reason, image = "", b""
        if isinstance(data, str):
            reason = data
        elif recipe.only and group not in (*recipe.only, GROUP) and not _is_of(name, recipe.only):
            reason = "of another class"
        else:
            try:
                if hints is None:
                    image = training.prepare(data, recipe.side, recipe.min_chroma)
                else:
                    image = training.prepare_hinted(data, recipe.side, decisions.hints(hints))
            except training.Unsuitable as unsuitable:
                reason = str(unsuitable)
        name = printable(name)
        key = _key(name)
        if hints is not None:
            key = key * start >> 63  # within the training stretch: most of their colours are not known
        elif group in recipe.hold_out:
            key = start + (key * (stop - start) >> 63)  # within the validation stretch, in the same order
        yield {"key": key, "name": name, "group": group, "image": image, "reason": reason}


def _encoded(row: dict, recipe: Preparation) -> Iterator[tuple[str, str, bytes | str, list[dict] | None]]:
    """Name, group, encoded bytes (or why there are none) and hints of each photograph in a task's files; no hints where
    all of its colours are known."""
    corrected = map(json.loads, row["hints"]) if row["hints"] else itertools.repeat(None, len(row["uris"]))
    for uri, path, hints in zip(row["uris"], row["paths"], corrected, strict=True):
        try:
            if row["hints"]:
                yield path, GROUP, read_bytes(uri), hints
            elif uri.endswith(".parquet"):
                yield from ((*photograph, None) for photograph in _in_parquet(uri, path, recipe.balance))
            else:
                yield path, class_of(path), read_bytes(uri), None
        except (OSError, pa.ArrowInvalid):
            yield path, "", "unreadable file", None


def _in_parquet(uri: str, path: str, balance: str | None) -> Iterator[tuple[str, str, bytes | str]]:
    fs, place = file_system(uri)
    with fs.open(place, "rb") as file:
        shard = pq.ParquetFile(file)
        there = shard.schema_arrow.names
        if "image" not in there:
            yield path, "", "Parquet file without a column called image"
            return
        if balance and balance != "class" and balance not in there:
            yield path, "", f"Parquet file without a column called {balance}"
            return
        columns = ["image", *({"path", balance} & set(there))]
        number = 0
        for batch in shard.iter_batches(64, columns=columns):
            for values in batch.to_pylist():
                image, name = values["image"], values.get("path")
                if isinstance(image, dict):
                    image, name = image["bytes"], name or image["path"]
                name = name or f"{path}#{number}"
                number += 1
                group = str(values[balance]) if balance in values else class_of(name)
                yield name, group, image if image is not None else "without an image"


def _write_part(table: pa.Table, folder: str, thresholds: tuple[int, int]) -> dict[str, list]:
    """Store a sorted stretch of the sequence under a name that sorts as it does."""
    left_out = Counter(reason for reason in table["reason"].to_pylist() if reason)
    table = table.filter(pc.equal(table["reason"], ""))
    keys = table["key"].to_numpy()
    name = f"part-{keys[0]:016x}.parquet" if len(keys) else ""
    if name:
        sink = pa.BufferOutputStream()
        kept = table.select(COLUMNS)
        pq.write_table(kept, sink, row_group_size=PHOTOGRAPHS_PER_ROW_GROUP, compression="none")
        write_bytes(f"{folder}/{name}", sink.getvalue().to_pybytes())
    groups = Counter(table["group"].to_pylist())
    row = {"file": name, "rows": len(keys), "groups": json.dumps(groups), "left_out": json.dumps(left_out)}
    row |= {split: int((keys < stop).sum()) for split, stop in zip(SPLITS, thresholds, strict=False)}
    return {column: [value] for column, value in row.items()}
