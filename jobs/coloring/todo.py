"""What a colouring job has to do: the listing without what the catalogue says is done."""

import os

import pyarrow as pa
import pyarrow.compute as pc

from jobs.cli import UsageError
from jobs.coloring.identity import CHUNK
from jobs.coloring.job import SUFFIX, Job, container, named
from jobs.pages import decisions
from jobs.storage import listing
from jobs.storage.files import absolute, is_local
from jobs.storage.output import FOLDERS, VARIANTS
from jobs.storage.parts import Part

COLUMNS = ["id", "source_version", "model", "settings", "status", "kind", "hints"]
"""Of the catalogue, what decides."""
PICTURES = ("images", "shards", "confidence", *VARIANTS)
"""Folders of OUTPUT in which pictures are called as photographs are."""


def check_apart(source: str, output: str) -> None:
    """Refuse an OUTPUT whose files would become inputs, or overwrite them."""
    names = ["images/a.png", "images/a.jpg", "images/a.tif", "images/a/a.jpg.png", "catalog/a.parquet", "shards/a.tar"]
    for name in (*names, "confidence/a.png", "variants/2/a.png"):
        if listing.covers(source, f"{output}/{name}"):
            raise UsageError(
                f"{output} lies inside {source}: its pictures would become inputs; choose an OUTPUT outside"
            )
    if any(listing.covers(f"{output}/{folder}", source) for folder in FOLDERS["archive"]):
        raise UsageError(f"{source} lies inside what {output} is for: choose another OUTPUT")


def check_outside(files: pa.Table, source: str, output: str) -> None:
    """Refuse files of the source that lie in OUTPUT, as a list may name them, or links and mounts lead there; and an
    OUTPUT from which a link leads back to them."""
    for folder in FOLDERS["archive"]:
        if pc.any(pc.starts_with(files["uri"], f"{output}/{folder}/".encode())).as_py():
            raise UsageError(f"{source} lies inside what {output} is for: choose another OUTPUT")
    if is_local(source) and is_local(output):
        _check_links(files, absolute(output))


def _check_links(files: pa.Table, output: str) -> None:
    ours = {_identity(f"{output}/{part}") for part in FOLDERS["archive"]} - {None}
    if not ours:
        return
    theirs = {found: folder for folder in _folders(files["uri"]) if (found := _identity(folder))}
    apart: set[str] = set()
    for folder in theirs.values():
        above = os.path.realpath(folder)
        while above not in apart:
            if _identity(above) in ours:
                raise UsageError(f"{folder} leads into {output}: choose another OUTPUT")
            apart.add(above)
            above = os.path.dirname(above)
    parts = filter(os.path.isdir, (f"{output}/{part}" for part in PICTURES))
    for place in (f"{part}/{folder}" for part in parts for folder in _folders(files["path"])):
        if (found := _identity(place)) in theirs:
            raise UsageError(f"{place} leads to {theirs[found]}: remove that link, or choose another OUTPUT")


def _folders(files: pa.ChunkedArray) -> list[str]:
    """That these are in, as they call them."""
    return [os.fsdecode(name) for name in pc.unique(pc.replace_substring_regex(files, "[^/]*$", "")).to_pylist()]


def _identity(folder: str) -> tuple[int, int] | None:
    """The same by whatever links and mounts a folder is called; None where there is none, or none is known."""
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found.st_ino else None


def todo(files: pa.Table, rows: pa.Table, model: str, job: Job, retry_errors: bool) -> pa.Table:
    """The files that are not done, with a column ``why``.

    Done is what has a row of this version of the file, made by the same weights and with the same settings, as far as
    they matter for what kind of scan it is: weights do not for what is not coloured. ``files`` are as ``hinted`` has
    them, ``rows`` the catalogue's ``COLUMNS``.
    """
    at = pc.index_in(files["id"], value_set=rows["id"])
    row = {name: rows[name].take(at) for name in rows.column_names}
    kinds = pc.fill_null(row["kind"], "")
    containers = _containers(files, job)
    coloured = pc.equal(kinds, "none of these")
    settled = pc.equal(kinds, "")  # what failed before that was known, or is no photograph, does so with any setting
    for kind, policy in job.policies.items():
        of_kind = pc.equal(kinds, kind)
        if policy == "recolor":
            coloured = pc.or_(coloured, of_kind)
        for name in SUFFIX:
            same = pc.equal(row["settings"], job.digest(policy, name))
            settled = pc.or_(settled, pc.and_(of_kind, pc.and_(pc.equal(containers, name), pc.fill_null(same, False))))
    why = pc.case_when(
        pc.make_struct(
            pc.is_null(at),
            pc.and_(pc.equal(row["source_version"], ""), pc.not_equal(files["version"], "")),
            pc.fill_null(pc.not_equal(row["source_version"], files["version"]), True),
            files["hinted_anew"],
            pc.and_(coloured, pc.fill_null(pc.not_equal(row["model"], model), True)),
            pc.invert(settled),
            pc.and_(pc.equal(row["status"], "error"), retry_errors),
        ),
        "new", "not stored before", "changed since", "given other hints", "coloured with other weights",
        "done with other settings", "failed before",
    )  # fmt: skip
    files = files.append_column("why", why)
    return files.filter(pc.is_valid(why))


def _containers(files: pa.Table, job: Job) -> pa.ChunkedArray:
    """The format of each one's output file."""
    if job.format not in ("keep", "parquet"):
        return pa.chunked_array([pa.repeat(job.format, len(files))])
    parts = (files["path"].slice(i, CHUNK) for i in range(0, len(files), CHUNK))
    return pa.chunked_array(
        [[container(job.format, named(os.fsdecode(path))) for path in part.to_pylist()] for part in parts], pa.string()
    )


def decided(files: pa.Table, only: str, source: str, part: Part) -> decisions.Said:
    """What the file says that --only names of a part's photographs; they must be among ``files``, those of SOURCE."""
    said = decisions.read(only).of(part)
    redone = marked(files, said.decisions)["id"].to_pylist()
    if lost := {id for id, decision in said.decisions.items() if decision == decisions.REDO}.difference(redone):
        raise said.not_held(lost, source, only)
    return said


def marked(files: pa.Table, decided: dict[str, str]) -> pa.Table:
    """The files that people want done again, with a column ``why``."""
    ids = [id for id, decision in decided.items() if decision == decisions.REDO]
    files = files.filter(pc.is_in(files["id"], value_set=pa.array(ids, pa.string())))
    return files.append_column("why", pa.array(["to be done again"] * len(files), pa.string()))
