"""What a person says on a served page, on disk: OUTPUT/review/decisions.json, a list as the page exports it.

Applying it gives a copy to the job, OUTPUT/review/applying.json. What the job has done leaves the list afterwards, also
where job and server were killed meanwhile; what it has not done, or what was said since, stays.
"""

import json

from jobs.cli import UsageError
from jobs.pages import decisions
from jobs.storage import files
from jobs.storage.catalog import Catalog
from jobs.storage.output import Place

COLUMNS = [
    "id", "source", "source_version", "output", "status", "width", "height", "settings", "finished_at", "decision",
    "hints",
]  # fmt: skip
MOST_HINTS = 500  # of a photograph


class Saved:
    """The list, and the rows of the catalogue that it is about, by the photographs' ids."""

    def __init__(self, output: str):
        self.output = output
        self.uri, self.copy = (f"{output}/review/{name}.json" for name in ("decisions", "applying"))
        self.entries = {entry["id"]: entry for entry in _read(self.uri)}
        self.settle()

    def settle(self) -> None:
        """Read the catalogue again, and take from the list what it says is done. No job may be at work."""
        rows = Catalog(self.output).read(COLUMNS).to_pylist()
        self.rows = {row["id"]: row for row in rows if row["status"] == "ok"}
        applied = {entry["id"]: entry for entry in _read(self.copy)}
        kept = {}
        for id, entry in self.entries.items():
            if not (row := self.rows.get(id)):
                kept[id] = entry  # it has no colours now, as where its scan cannot be read for a while
            elif entry.get("of", _finished(row)) == _finished(row):  # an exported list does not say of which colours
                if entry["decision"] == decisions.REDO or entry["decision"] != row["decision"]:
                    kept[id] = entry | {"of": _finished(row)}
            elif applied.get(id) != entry if applied else _holds(entry, row):  # said since the job has read its copy
                kept[id] = entry | {"of": _finished(row)}
        self.entries = kept
        for id, row in self.rows.items():  # of a job that was killed, with another list
            if row["decision"] == decisions.REDO and id not in kept:
                self.say(id, decisions.REDO, None)
        self.write()
        place = Place(self.output)
        place.remove(f"{place.root}/review/applying.json", lambda data: isinstance(json.loads(data), list))

    def say(self, id: str, decision: str | None, hints: list | None) -> None:
        """Take down what is said of a photograph, None where nothing is; ``write`` stores it. Raises ``KeyError`` for
        an unknown one and ``UsageError`` for what means nothing.
        """
        row = self.rows[id]
        if decision is None:
            self.entries.pop(id, None)
            return
        if decision not in decisions.DECISIONS:
            raise UsageError(f"there is no decision {decision!r:.40}")
        entry = {"id": id, "source": row["source"], "decision": decision}
        entry |= {"of": _finished(row), "version": row["source_version"]}
        if hints is not None:
            entry["hints"] = self.hints(id, hints)
        self.entries[id] = entry

    def hints(self, id: str, given: object) -> list[dict]:
        """As the catalogue has them. Raises as ``say`` does."""
        if not isinstance(given, list) or len(given) > MOST_HINTS:
            raise UsageError(f"hints are a list of at most {MOST_HINTS}")
        found, row = [decisions.hint(entry, self.rows[id]["source"]) for entry in given], self.rows[id]
        if any(hint["x"] > row["width"] or hint["y"] > row["height"] for hint in found):
            raise UsageError(f"a hint lies outside of the {row['width']} x {row['height']} pixels of {row['source']}")
        return found

    def write(self) -> None:
        """Store the list, whole or not at all. Raises ``OSError``."""
        self._write(self.uri, [*self.entries.values()])

    def hand_over(self) -> None:
        """Store the job's copy: what it can do. Raises ``OSError``."""
        self._write(self.copy, [entry for id, entry in self.entries.items() if id in self.rows])

    def _write(self, uri: str, entries: list[dict]) -> None:
        files.write_bytes(uri, json.dumps(entries, ensure_ascii=False, indent=1).encode(), lasting=True)


def _read(uri: str) -> list[dict]:
    try:
        return json.loads(files.read_bytes(uri))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise UsageError(f"{uri} is damaged ({error}): bring it back from a copy, or move it away") from error


def _holds(entry: dict, row: dict) -> bool:
    """Whether hints that nobody has applied are of this very scan, though it has been coloured again, as with others'
    weights."""
    hints = entry.get("hints")
    return hints is not None and hints != (row["hints"] or []) and entry.get("version") == row["source_version"]


def _finished(row: dict) -> str:
    return row["finished_at"].isoformat()
