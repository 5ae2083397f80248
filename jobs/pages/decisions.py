"""What people have said about photographs: the lists that the review page exports."""

import csv
import io
import json
import math
import re
from collections.abc import Collection
from typing import NamedTuple, TypeVar

import pyarrow as pa

from colorize_core.hints import Hint, chroma_of
from jobs.cli import UsageError
from jobs.storage import files
from jobs.storage.parts import Part

T = TypeVar("T")
_SEEN = re.compile("sha256:([0-9a-f]{8,64})")
KEEP, REJECT, REDO = DECISIONS = "keep", "reject", "redo"


class Said(NamedTuple):
    """By the photographs' ids."""

    decisions: dict[str, str]
    hints: dict[str, list[dict]]
    """Entries of the catalogue's column ``hints``, of those of which some were said; an empty list takes back all."""
    sources: dict[str, str]
    """As the catalogue that was reviewed has them, where the list says so."""
    colors: dict[str, str]
    """How the digests began of the colour photographs that were looked at, where the list says so."""

    def of(self, part: Part) -> "Said":
        """What was said of a part's photographs."""
        ids = part.among({*self.decisions, *self.hints})

        def ours(values: dict[str, T]) -> dict[str, T]:
            return {id: value for id, value in values.items() if id in ids}

        return Said(ours(self.decisions), ours(self.hints), ours(self.sources), ours(self.colors))

    def of_present(self, rows: pa.Table) -> "Said":
        """What was said, but for what was kept or rejected of which these ``rows`` of the catalogue, ``id`` and
        ``output_sha256``, have other colours now.
        """
        now = dict(zip(rows["id"].to_pylist(), rows["output_sha256"].to_pylist(), strict=True))
        gone = {id for id, seen in self.colors.items() if id in now and not (now[id] or "").startswith(seen)}
        gone = {id for id in gone if self.decisions.get(id) != REDO}
        return self._replace(decisions={id: said for id, said in self.decisions.items() if id not in gone})

    def not_held(self, ids: Collection[str], place: str, uri: str) -> UsageError:
        """Of photographs that ``uri`` is about and that are not to be found in a place."""
        example = min(self.sources.get(id, id) for id in ids)
        return UsageError(
            f"{uri} is about {len(ids):,} photographs that {place} does not hold, such as {example}: give the SOURCE "
            "and OUTPUT that were reviewed, or take their lines out"
        )

    def check(self, rows: pa.Table, uri: str) -> None:
        """Raise ``UsageError`` where ``uri``, in which this was said, names a photograph by an id that is another one's
        in these ``rows`` of the catalogue, ``id`` and ``source``: ids are the same in all archives with the same names.
        """
        for id, source in zip(rows["id"].to_pylist(), rows["source"].to_pylist(), strict=True):
            if (said := self.sources.get(id, source)) != source:
                raise UsageError(
                    f"{uri} is about another archive: it names {said}, where this one has {source}; give the SOURCE "
                    "and OUTPUT that were reviewed, or, where the photographs have only moved, say so with --moved"
                )


def read(uri: str) -> Said:
    """From CSV with the columns id and decision, or JSON with a list of objects, which may have ``hints`` as well.

    Raises ``UsageError``.
    """
    try:
        text = files.read_bytes(uri).decode("utf-8-sig")
        rows = list(json.loads(text) if text.lstrip().startswith("[") else csv.DictReader(io.StringIO(text)))
        decisions = {row["id"]: row["decision"] for row in rows}
        given = {row["id"]: list(row["hints"]) for row in rows if "hints" in row}
        sources = {row["id"]: row["source"] for row in rows if row.get("source")}
        seen = {row["id"]: _SEEN.fullmatch(str(row.get("colors"))) for row in rows}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UsageError(
            f"{uri} cannot be read as decisions ({type(error).__name__}: {error}): give a CSV or JSON file that the "
            "review page has exported, with an id and a decision for each photograph"
        ) from error
    if unknown := {*decisions.values()} - {*DECISIONS}:
        raise UsageError(f"{uri} has the decision {sorted(map(str, unknown))[0]!r}: there are only keep, reject, redo")
    found = {id: [hint(entry, f"{uri}, photograph {id}") for entry in entries] for id, entries in given.items()}
    return Said(decisions, found, sources, {id: match[1] for id, match in seen.items() if match})


def hint(entry: dict, where: str) -> dict:
    """One of a list, as the catalogue's column ``hints`` has it. Raises ``UsageError``, which says ``where`` it was."""
    try:
        x, y, radius = float(entry["x"]), float(entry["y"]), float(entry.get("radius") or 0)
        if not (min(x, y, radius) >= 0 and max(x, y, radius) < math.inf):
            raise ValueError("numbers must be 0 or more")
        chroma_of(color := entry["color"].strip().lower())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{where}: no hint ({error}); give x, y and radius in pixels, and a color as #rrggbb or none"
        ) from error
    return {"x": x, "y": y, "color": color, "radius": radius}


def hints(entries: list[dict], scale: float = 1.0) -> list[Hint]:
    """Of the catalogue's column ``hints``, in the pixels of a picture ``scale`` times as large as the photograph."""
    return [
        Hint(scale * entry["x"], scale * entry["y"], chroma_of(entry["color"]), scale * entry["radius"])
        for entry in entries
    ]
