"""What is worth a person's time of an archive with more photographs than a page can show.

The most doubtful ones overall and of each folder, to find what went wrong; some chosen by chance, from which the page
estimates how many would be rejected of all; and of what failed each reason, with a few examples.
"""

import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.storage.catalog import without_details
from jobs.storage.catalog_stream import CatalogStream, numbers
from jobs.storage.shards import WITHIN

DOUBTFUL = 1_000  # photographs
RANDOM = 1_000
PER_FOLDER = 4
FOLDERS = 500  # where there are more, those beside each other count as the one that they lie in
REASONS = 1_000
EXAMPLES = 5  # of each
OTHER = "other reasons: see the column error of the catalogue"

COLUMNS = ["id", "source", "status", "error", "confidence"]
FOLDER = rf"(?P<folder>{WITHIN}(?s:.*/)?|^(?s:.*)/)?[^/]*$"
"""Of a photograph's place: its folder, or the shard that it lies in, with what ends it."""


@dataclass
class Reason:
    """Of failures that differ in details alone."""

    status: str
    text: str
    count: int = 0
    examples: list[int] = field(default_factory=list)


@dataclass
class Sample:
    """Of the catalogue's current rows, which it names by their places in the stream."""

    counts: Counter[str]
    """Of all rows, by status."""
    doubtful: list[int]
    folders: list[int]
    """The most doubtful ones of each."""
    random: list[int]
    """By chance, in an order by chance: the same rows give the same."""
    reasons: list[Reason]

    @property
    def places(self) -> list[int]:
        """All, each once, rising."""
        examples = (place for reason in self.reasons for place in reason.examples)
        return sorted({*self.doubtful, *self.folders, *self.random, *examples})


def chosen(stream: CatalogStream) -> Sample:
    """Looks at every row once; what it keeps of them does not grow with their number."""
    counts: Counter[str] = Counter()
    doubtful, random, folders, reasons = _Lowest(DOUBTFUL), _Lowest(RANDOM), _Folders(), _Reasons()
    for rows in stream.portions(COLUMNS):
        counts.update({pair["values"]: pair["counts"] for pair in pc.value_counts(rows["status"]).to_pylist()})
        coloured = pc.equal(rows["status"], "ok")
        reasons.add(rows.filter(pc.invert(coloured)))
        rows = rows.filter(coloured)
        random.add(numbers(rows["id"]), rows)
        rows = rows.filter(pc.is_valid(rows["confidence"]))
        doubtful.add(rows["confidence"].to_numpy(), rows)
        folders.add(rows)
    return Sample(counts, doubtful.places.tolist(), folders.places, random.places.tolist(), reasons.sorted)


class _Lowest:
    """The places of the rows with the lowest keys; of equal ones, by chance."""

    def __init__(self, count: int):
        self.count = count
        self.keys = np.empty(0)
        self.numbers, self.places = np.empty(0, np.uint64), np.empty(0, np.int64)

    def add(self, keys: np.ndarray, rows: pa.Table) -> None:
        if len(self.keys) == self.count:
            low = keys <= self.keys[-1]
            keys, rows = keys[low], rows.filter(pa.array(low))
        if not len(keys):
            return
        keys = np.concatenate([self.keys.astype(keys.dtype), keys])
        among = np.concatenate([self.numbers, numbers(rows["id"])])
        first = np.lexsort((among, keys))[: self.count]
        self.keys, self.numbers = keys[first], among[first]
        self.places = np.concatenate([self.places, rows["place"].to_numpy()])[first]


class _Folders:
    """The most doubtful photographs of each folder."""

    def __init__(self) -> None:
        self.depth = 1 << 30
        self.best: dict[str, list[tuple[float, int, int]]] = {}

    def add(self, rows: pa.Table) -> None:
        if not len(rows):
            return
        names = pc.replace_substring_regex(rows["source"], FOLDER, r"\1").combine_chunks().dictionary_encode()
        codes = names.indices.to_numpy()
        confidence, number = rows["confidence"].to_numpy(), numbers(rows["id"])
        order = np.lexsort((number, confidence, codes))
        begins = np.flatnonzero(np.diff(codes[order], prepend=-1))
        rank = np.arange(len(order)) - np.repeat(begins, np.diff(begins, append=len(order)))
        first = order[rank < PER_FOLDER]
        values, places = names.dictionary.to_pylist(), rows["place"].to_numpy()
        for code, *entry in zip(
            *(column[first].tolist() for column in (codes, confidence, number, places)), strict=True
        ):
            self._offer(values[code], [tuple(entry)])
        while len(self.best) > FOLDERS:
            self.depth = max(map(_depth, self.best)) - 1
            before, self.best = self.best, {}
            for name, entries in before.items():
                self._offer(name, entries)

    def _offer(self, name: str, entries: list) -> None:
        name = "/".join(name.split("/")[: self.depth])
        self.best[name] = sorted([*self.best.get(name, []), *entries])[:PER_FOLDER]

    @property
    def places(self) -> list[int]:
        return [place for name in sorted(self.best) for *_, place in self.best[name]]


class _Reasons:
    """Of what is not ``ok``, grouped."""

    def __init__(self) -> None:
        self.groups: dict[tuple[str, str], Reason] = {}

    def add(self, rows: pa.Table) -> None:
        alike = rows.group_by(["status", "error"]).aggregate([("place", "count"), ("place", "list")])
        for group in alike.set_column(
            alike.schema.get_field_index("place_list"), "place_list", pc.list_slice(alike["place_list"], 0, EXAMPLES)
        ).to_pylist():
            reason = self._reason(group["status"], group["error"] or "")
            reason.count += group["place_count"]
            reason.examples += group["place_list"][: EXAMPLES - len(reason.examples)]

    def _reason(self, status: str, text: str) -> Reason:
        key = status, without_details(text)
        if key not in self.groups and len(self.groups) >= REASONS:
            key, text = (status, OTHER), OTHER
        return self.groups.setdefault(key, Reason(status, text))

    @property
    def sorted(self) -> list[Reason]:
        return sorted(self.groups.values(), key=lambda reason: (-reason.count, reason.text))


def _depth(name: str) -> int:
    return name.count("/") + 1


def folder_and_name(path: str) -> tuple[str, str]:
    """Of a photograph's place: ``1912/a.jpg`` is ``a.jpg`` in ``1912``, ``00.tar#a.jpg`` in ``00.tar#``."""
    found = re.match(FOLDER, path)
    folder = (found and found["folder"]) or ""
    return folder.removesuffix("/"), path[len(folder) :]
