"""Whether OUTPUT holds what its catalogue says, and nothing else; and how to mend it."""

import os
import posixpath
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from jobs.cli import UsageError
from jobs.storage import listing
from jobs.storage.catalog import SCHEMA, Catalog
from jobs.storage.files import UNFINISHED, printable
from jobs.storage.output import Place, is_content

GONE = "its scan is no longer in the archive; its colour photograph is kept"


@dataclass(slots=True)
class Findings:
    """What is wrong with an OUTPUT."""

    damaged: list[str] = field(default_factory=list)
    """Files of the catalogue that are not what was written; where there are any, nothing else was looked at."""
    missing: pa.Table = field(default_factory=SCHEMA.empty_table)
    """Rows whose photograph is not there, or, if all were read, is not what was written."""
    unneeded: list[str] = field(default_factory=list)
    """Pictures that no row needs."""
    gone: pa.Table = field(default_factory=SCHEMA.empty_table)
    """Rows whose scan is no longer in the archive."""

    def __bool__(self) -> bool:
        return bool(self.damaged or len(self.missing) or self.unneeded or len(self.gone))


def verify(output: str, read_all: bool = False) -> Findings:
    """Compare the catalogue with the files of OUTPUT and with the scans; ``read_all`` compares digests too."""
    place, catalog = Place(output), Catalog(output)
    if damaged := catalog.damaged():
        return Findings(damaged=damaged)
    rows = catalog.read()
    there = _pictures(place)
    paths = [uri and place.path_of(uri) for uri in rows["output"].to_pylist()]
    absent = [path is not None and not _is_there(place, path, there, row, read_all)
              for path, row in zip(paths, rows["output_sha256"].to_pylist(), strict=True)]  # fmt: skip
    needed = {path for path in paths if path}
    pictures = f"{place.root}/images/"
    for path in [path for path in needed if path.startswith(pictures)]:
        name = path.removeprefix(pictures)
        needed.add(f"{place.root}/confidence/{posixpath.splitext(name)[0]}.png")
        needed |= {f"{place.root}/variants/{number}/{name}" for number in range(2, 6)}
    unneeded = sorted(there - needed)
    return Findings([], rows.filter(pa.array(absent, pa.bool_())), unneeded, _gone(place, rows))


def mend(output: str, findings: Findings) -> list[str]:
    """Put damaged files of the catalogue aside, have missing photographs coloured again by the next run, say in the
    catalogue whose scans are gone, and delete the pictures that no row needs, if they prove to be ours. Returns those
    that do not.
    """
    place, catalog = Place(output), Catalog(output)
    for path in findings.damaged:
        place.put_aside(path)
    if len(findings.missing):
        reason = "its colour photograph is no longer in OUTPUT: the next run makes it again"
        catalog.append(_with(findings.missing, status="error", error=reason, source_version="", output=None))
    if len(findings.gone):
        catalog.append(_with(findings.gone, status="skipped", error=GONE))
    if not findings.damaged:
        catalog.compact()
    kept = []
    for path in findings.unneeded:
        unfinished = path.rpartition("/")[2].startswith(UNFINISHED)
        if not place.remove(path, (lambda data: True) if unfinished else is_made_by_us):
            kept.append(path)
    return kept


def is_made_by_us(data: bytes) -> bool:
    """Whether a picture says that this software made it (IPTC's AISystemUsed, in XMP)."""
    begin = data.find(b"AISystemUsed")
    return begin >= 0 and b"colorize" in data[begin : begin + 200]


def _with(rows: pa.Table, **values) -> pa.Table:
    for name, value in values.items():
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, SCHEMA.field(name), pa.array([value] * len(rows), SCHEMA.field(name).type))
    return rows


def _pictures(place: Place) -> set[str]:
    """Every file in the folders for pictures."""
    found: set[str] = set()
    for folder in ("images", "variants", "confidence", "parquet"):
        path = f"{place.root}/{folder}"
        place.fs.invalidate_cache(path)
        if place.fs.exists(path):
            found.update(place.fs.find(path))
    return found


def _is_there(place: Place, path: str, there: set[str], digest: str | None, read_all: bool) -> bool:
    if path not in there:
        return False
    if not read_all or path.startswith(f"{place.root}/parquet/"):  # whose names are digests, which each run compares
        return True
    return is_content(digest or "")(place.fs.cat_file(path))


def _gone(place: Place, rows: pa.Table) -> pa.Table:
    """Rows of what an archive that can be listed no longer holds."""
    marker = place.marker or {}
    try:
        files = listing.listing(marker["source"])
    except (KeyError, UsageError):  # not known, or not reachable from here
        return SCHEMA.empty_table()
    uris = pa.array([printable(os.fsdecode(uri)) for uri in files["uri"].to_pylist()], pa.string())
    within = pc.starts_with(rows["source"], marker["source"].rstrip("/") + "/")
    lost = pc.and_(within, pc.invert(pc.is_in(rows["source"], value_set=uris)))
    return rows.filter(pc.and_(lost, pc.fill_null(pc.not_equal(rows["error"], GONE), True)))
