"""What people have decided about photographs: the lists that the review page exports."""

import csv
import io
import json

from jobs.cli import UsageError
from jobs.storage import files

KEEP, REJECT, REDO = DECISIONS = "keep", "reject", "redo"


def read(uri: str) -> dict[str, str]:
    """Decisions by the photographs' ids, from CSV with the columns id and decision or JSON with a list of objects.

    Raises ``UsageError``.
    """
    try:
        text = files.read_bytes(uri).decode("utf-8-sig")
        rows = json.loads(text) if text.lstrip().startswith("[") else csv.DictReader(io.StringIO(text))
        found = {row["id"]: row["decision"] for row in rows}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UsageError(
            f"{uri} cannot be read as decisions ({type(error).__name__}: {error}): give a CSV or JSON file that the "
            "review page has exported, with an id and a decision for each photograph"
        ) from error
    if unknown := set(found.values()) - {*DECISIONS}:
        raise UsageError(f"{uri} has the decision {sorted(map(str, unknown))[0]!r}: there are only keep, reject, redo")
    return found
