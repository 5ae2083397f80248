"""Whether OUTPUT holds what its catalogue says, and nothing else; and how to mend it."""

import os
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from jobs.cli import UsageError
from jobs.storage import listing, parquet, shard_rows, shards
from jobs.storage.catalog import SCHEMA, Catalog, shard_paths
from jobs.storage.files import is_local, is_unfinished, printable, read_bytes, unprintable
from jobs.storage.output import VARIANTS, Place, is_content

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
    changed: list[str] = field(default_factory=list)
    """Files that are there in the place of some that are missing."""
    moved: dict[str, str] = field(default_factory=dict)
    """What the catalogue calls photographs from when OUTPUT was elsewhere, and what they are called now."""
    others: pa.Table = field(default_factory=SCHEMA.empty_table)
    """Rows whose scan looks unchanged, and, if all were read, is another one than was coloured."""
    gone: pa.Table = field(default_factory=SCHEMA.empty_table)
    """Rows whose scan is no longer in the archive."""
    back: pa.Table = field(default_factory=SCHEMA.empty_table)
    """Rows that say so, although it is in the archive again."""

    def __bool__(self) -> bool:
        rows = len(self.missing) or len(self.others) or len(self.gone) or len(self.back)
        return bool(self.damaged or self.unneeded or self.moved or rows)


def verify(output: str, read_all: bool = False) -> Findings:
    """Compare the catalogue with the files of OUTPUT and with the scans; ``read_all`` compares digests too.

    Raises ``UsageError`` where the catalogue names photographs elsewhere.
    """
    place, catalog = Place(output), Catalog(output)
    if damaged := catalog.damaged():
        return Findings(damaged=damaged)
    there = _pictures(place)
    rows, moved = _called(place, catalog.read(), there)
    footers = [footer for footer in shard_rows.footers(place).values() if footer]
    made = {f"{output}/shards/{footer.shard}" for footer in footers}
    outputs = [_apart(uri, made) for uri in rows["output"].to_pylist()]
    digests = rows["output_sha256"].to_pylist()
    paths = [uri and place.path_of(uri) for uri, _ in outputs]
    absent = [path is not None and not _is_there(place, path, there, digest, read_all and not name)
              for path, (_, name), digest in zip(paths, outputs, digests, strict=True)]  # fmt: skip
    if read_all:
        by_shard: dict[str, dict[str, int]] = defaultdict(dict)
        for number, (uri, name) in enumerate(outputs):
            if uri and name and not absent[number]:
                by_shard[uri][name] = number
        for uri, numbers in by_shard.items():
            for number in _changed(uri, {name: (number, digests[number]) for name, number in numbers.items()}):
                absent[number] = True
    sound = {path for path, (_, name), gone in zip(paths, outputs, absent, strict=True) if not (gone or name)}
    changed = {path for path, gone in zip(paths, absent, strict=True) if gone and path in there} - sound
    needed = {path for path in paths if path} | {place.path_of(uri) for uri in made}
    pictures = f"{place.root}/images/"
    for path in [path for path in needed if path.startswith(pictures)]:
        name = path.removeprefix(pictures)
        needed.add(f"{place.root}/confidence/{posixpath.splitext(name)[0]}.png")
        needed |= {f"{place.root}/{folder}/{name}" for folder in VARIANTS}
    unneeded = sorted(there - needed)
    archive, files = _archive(place)
    gone, back = _gone_and_back(archive, files, rows, {footer.source for footer in footers})
    others = _others(archive, files, rows) if read_all else SCHEMA.empty_table()
    missing = rows.filter(pa.array(absent, pa.bool_()))
    return Findings([], missing, unneeded, sorted(changed), moved, others, gone, back)


def mend(output: str, findings: Findings) -> list[str]:
    """Put damaged files of the catalogue aside, have missing photographs coloured again by the next run, say in the
    catalogue whose scans are gone, or are back, and see to the pictures that no row needs: what a digest proves to be
    ours is deleted, and what says so is put aside, as is what is not what was written. Returns those that do not.
    """
    place, catalog = Place(output), Catalog(output)
    for path in findings.damaged:
        place.put_aside(path)
    for path in findings.changed:
        place.put_aside(path)
    _name_anew(catalog, findings.moved)
    missing, within = _parted(findings.missing, output)
    if len(missing):
        reason = "its colour photograph is no longer in OUTPUT: the next run makes it again"
        catalog.append(_with(missing, status="error", error=reason, source_version="", output=None))
    there = shard_paths(place)
    for shard in shard_rows.where(place, within["id"].to_pylist()):
        place.put_aside(there[shard])  # without it the shard is not done
    if len(findings.others):
        reason = "its scan is another one than was coloured: the next run colours it"
        catalog.append(_with(findings.others, status="error", error=reason, source_version=""))
    sources = {footer.source for footer in shard_rows.footers(place).values() if footer}
    alone = [not _apart(uri, sources)[1] for uri in findings.gone["source"].to_pylist()]
    if len(gone := findings.gone.filter(pa.array(alone, pa.bool_()))):
        done = pc.equal(gone["status"], "ok")
        versions = pc.if_else(done, gone["source_version"], "")
        gone = gone.set_column(gone.schema.get_field_index("source_version"), "source_version", versions)
        catalog.append(_with(gone, status="skipped", error=GONE))
    if len(findings.back):
        catalog.append(_with(findings.back, status="ok", error=None))
    if not findings.damaged:
        catalog.compact()
    if not findings.unneeded:
        return []
    known, archive = {*catalog.read(["source"])["source"].to_pylist()}, (place.marker or {}).get("source")

    def is_of_a_scan(name: str) -> bool:
        return f"{archive}/{printable(name)}" in known

    return [path for path in findings.unneeded if not _is_cleared(place, path, is_of_a_scan)]


def _is_cleared(place: Place, path: str, is_of_a_scan: Callable[[str], bool]) -> bool:
    """Whether a picture that no row needs is gone now. What a person has made of one says that it is ours too."""
    if is_unfinished(path):
        return place.remove(path, lambda data: True)
    if parquet.is_named_by_us(path):
        return place.remove(path, partial(parquet.is_ours, path))
    found = re.fullmatch(r"/(?:images|variants/\d+)/((?s:.+))\.(?:png|jpg|tif)", path.removeprefix(place.root))
    if not (found and is_of_a_scan(found[1]) and is_made_by_us(place.fs.cat_file(path))):
        return False
    place.put_aside(path)
    return True


def is_made_by_us(data: bytes) -> bool:
    """Whether a picture says that this software made it (IPTC's AISystemUsed, in XMP)."""
    begin = data.find(b"AISystemUsed")
    return begin >= 0 and b"colorize" in data[begin : begin + 200]


def _name_anew(catalog: Catalog, moved: dict[str, str]) -> None:
    """Have the catalogue call photographs what they are called now."""
    if not moved:
        return
    rows = catalog.read_files()
    rows = rows.filter(pc.is_in(rows["output"], value_set=pa.array(list(moved), pa.string())))
    if len(rows):
        catalog.append(_renamed(rows, moved))
    for shard in shard_paths(catalog.place):
        shard_rows.rewrite(catalog.place.uri, shard, lambda rows: _renamed(rows, moved))


def _renamed(rows: pa.Table, moved: dict[str, str]) -> pa.Table:
    outputs = pa.array([moved.get(uri, uri) for uri in rows["output"].to_pylist()], pa.string())
    return rows.set_column(rows.schema.get_field_index("output"), SCHEMA.field("output"), outputs)


def _parted(rows: pa.Table, output: str) -> tuple[pa.Table, pa.Table]:
    """Those with a picture of their own, and those in shards."""
    within = pc.fill_null(pc.starts_with(rows["output"], f"{output}/shards/"), False)
    return rows.filter(pc.invert(within)), rows.filter(within)


def _with(rows: pa.Table, **values) -> pa.Table:
    for name, value in values.items():
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, SCHEMA.field(name), pa.array([value] * len(rows), SCHEMA.field(name).type))
    return rows


def _apart(uri: str | None, known: set[str]) -> tuple[str | None, str]:
    """The file of a photograph, and its name there where that is one of the shards that are ``known``."""
    at = len(uri or "")
    while uri and (at := uri.rfind("#", 0, at)) >= 0:
        if uri[:at] in known:
            return uri[:at], uri[at + 1 :]
    return uri, ""


def _changed(uri: str, expected: dict[str, tuple[int, str]]) -> list[int]:
    """Of a shard's photographs, with their digests by their names there, the numbers of those that are others."""
    changed = []
    try:
        with shards.open_shard(unprintable(uri)) as opened:
            for portion in opened:
                for one in portion.photographs:
                    if found := expected.pop(one.name, None):
                        number, digest = found
                        if not is_content(digest)(one.data or b""):
                            changed.append(number)
    except (OSError, shards.ShardError):
        pass  # what was not found so far is not there
    return [*changed, *(number for number, _ in expected.values())]


def _called(place: Place, rows: pa.Table, there: set[str]) -> tuple[pa.Table, dict[str, str]]:
    """Rows whose outputs are called as the place is now; and what those are called of which the catalogue says where
    they were before the place was moved. By a link it may have been called all the time.
    """
    begin = f"{place.uri}/"
    others = pc.unique(rows["output"].filter(pc.invert(pc.starts_with(rows["output"], begin)))).drop_null().to_pylist()
    if not others:
        return rows, {}
    found, elsewhere, root = {}, [], f"{os.path.realpath(place.root)}/"
    for uri in others:
        folder, name = os.path.split(place.path_of(uri))
        path = os.path.join(os.path.realpath(folder), name)
        if is_local(place.uri) and is_local(uri) and path.startswith(root):
            found[uri] = begin + printable(path.removeprefix(root))
        else:
            elsewhere.append(uri)
    moved = _moved(place, elsewhere, there)
    return _renamed(rows, found | moved), moved


_FOLDER = re.compile("/(?=(?:images|parquet|shards)/)")


def _moved(place: Place, elsewhere: list[str], there: set[str]) -> dict[str, str]:
    """What photographs are called now that were all in one place or another before, from which all that is there was
    moved. Raises ``UsageError`` where nothing speaks for that.
    """
    before: Counter[str] = Counter()
    for uri in elsewhere:
        for cut in _FOLDER.finditer(uri):
            rest = uri[cut.end() :]
            whole = f"{place.uri}/{rest}", f"{place.uri}/{rest.rpartition('#')[0]}"
            before[uri[: cut.start()]] += any(place.path_of(path) in there for path in whole)
    found = {}
    for uri in elsewhere:
        root = max((uri[: cut.start()] for cut in _FOLDER.finditer(uri)), key=lambda root: before[root], default="")
        if not before[root]:
            raise UsageError(
                f"the catalogue of {place.uri} names photographs in another place, such as {uri}, and they are not "
                "here either: give the OUTPUT that they are in, or bring them here"
            )
        found[uri] = place.uri + uri.removeprefix(root)
    return found


def _pictures(place: Place) -> set[str]:
    """Every file in the folders for pictures."""
    found: set[str] = set()
    for folder in ("images", "variants", "confidence", "parquet", "shards"):
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


def _archive(place: Place) -> tuple[str, pa.Table | None]:
    """Where the scans are, and their listing, unless they are not reachable from here."""
    try:
        archive = (place.marker or {})["source"]
        return archive.rstrip("/"), listing.listing(archive)
    except (KeyError, UsageError):
        return "", None


def _uris(archive: str, files: pa.Table) -> pa.Array:
    """As the catalogue has them."""
    names = (printable(os.fsdecode(path)) for path in files["path"].to_pylist())
    return pa.array([f"{archive}/{name}" for name in names], pa.string())


def _others(archive: str, files: pa.Table | None, rows: pa.Table) -> pa.Table:
    """Rows of files that are listed as they were, and hold something else, as where two have exchanged their names."""
    if files is None:
        return SCHEMA.empty_table()
    uris = _uris(archive, files)
    versions = files["version"].take(pc.index_in(rows["source"], value_set=uris))
    unchanged = pc.and_(pc.equal(rows["status"], "ok"), pc.equal(rows["source_version"], versions))
    rows = rows.filter(pc.and_(pc.fill_null(unchanged, False), pc.is_valid(rows["source_sha256"])))
    other = []
    for uri, digest in zip(rows["source"].to_pylist(), rows["source_sha256"].to_pylist(), strict=True):
        try:
            other.append(not is_content(digest)(read_bytes(unprintable(uri))))
        except OSError:  # what it holds is not known
            other.append(False)
    return rows.filter(pa.array(other, pa.bool_()))


def _gone_and_back(archive: str, files: pa.Table | None, rows: pa.Table, known: set[str]) -> tuple[pa.Table, pa.Table]:
    """Rows of what an archive that can be listed no longer holds; and of what is in colour, was said to be gone, and is
    there again. What was not in colour the next job does. ``known`` are the archive's shards.
    """
    if files is None:
        return SCHEMA.empty_table(), SCHEMA.empty_table()
    uris = _uris(archive, files)
    within = pc.starts_with(rows["source"], f"{archive}/")
    place_of = pa.array([_apart(uri, known)[0] for uri in rows["source"].to_pylist()], pa.string())
    lost = pc.and_(within, pc.invert(pc.is_in(place_of, value_set=uris)))
    said = pc.fill_null(pc.equal(rows["error"], GONE), False)
    back = pc.and_(pc.and_(said, within), pc.and_(pc.invert(lost), pc.not_equal(rows["source_version"], "")))
    return rows.filter(pc.and_(lost, pc.invert(said))), rows.filter(back)
