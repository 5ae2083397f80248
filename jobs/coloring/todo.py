"""What a colouring job has to do: the listing without what the catalogue says is done."""

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from jobs.cli import UsageError
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.job import source_id
from jobs.pages import decisions
from jobs.storage import listing
from jobs.storage.catalog import Catalog


def ids(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    """A few at a time, since a million of Python's strings take more memory than all else here."""
    parts = (paths.slice(i, 1 << 16) for i in range(0, len(paths), 1 << 16))
    return pa.chunked_array([[source_id(path) for path in part.to_pylist()] for part in parts], pa.string())


def check_apart(source: str, files: pa.Table, output: str) -> None:
    """Refuse an OUTPUT whose files would become inputs, or overwrite them."""
    names = ["images/a.png", "images/a.jpg", "images/a.tif", "images/a/a.jpg.png", "catalog/a.parquet"]
    for name in (*names, "confidence/a.png", "variants/2/a.png"):
        if listing.covers(source, f"{output}/{name}"):
            raise UsageError(
                f"{output} lies inside {source}: its pictures would become inputs; choose an OUTPUT outside"
            )
    for folder in ("images", "variants", "confidence", "parquet", "catalog", "settings", "review"):
        inside = pc.starts_with(files["uri"], f"{output}/{folder}/".encode())
        if pc.any(inside).as_py() or listing.covers(f"{output}/{folder}", source):
            raise UsageError(f"{source} lies inside what {output} is for: choose another OUTPUT")


def todo(files: pa.Table, catalog: Catalog, model: str, settings: str, retry_errors: bool) -> pa.Table:
    """The files that are not done, with a column ``why``."""
    rows = catalog.read(["id", "source_version", "model", "settings", "status"])
    at = pc.index_in(files["id"], value_set=rows["id"])
    row = {name: rows[name].take(at) for name in ("source_version", "model", "settings", "status")}
    why = pc.case_when(
        pc.make_struct(
            pc.is_null(at),
            pc.fill_null(pc.not_equal(row["source_version"], files["version"]), True),
            pc.fill_null(pc.or_(pc.not_equal(row["model"], model), pc.not_equal(row["settings"], settings)), True),
            pc.and_(pc.equal(row["status"], "error"), retry_errors),
        ),
        "new", "changed", "coloured with other weights or settings", "failed before",
    )  # fmt: skip
    files = files.append_column("why", why)
    return files.filter(pc.is_valid(why))


def decided(files: pa.Table, config: ColorizeConfig) -> dict[str, str]:
    """What --only says, by the photographs' ids."""
    decided = decisions.read(config.only)
    if lost := Counter(decided.values())[decisions.REDO] - len(marked(files, decided)):
        raise UsageError(
            f"{config.only} asks to redo {lost:,} photographs that {config.source} does not hold: give the SOURCE and "
            "OUTPUT that were reviewed"
        )
    return decided


def marked(files: pa.Table, decided: dict[str, str]) -> pa.Table:
    """The files that people want done again, with a column ``why``."""
    ids = [id for id, decision in decided.items() if decision == decisions.REDO]
    files = files.filter(pc.is_in(files["id"], value_set=pa.array(ids, pa.string())))
    return files.append_column("why", pa.array(["to be done again"] * len(files), pa.string()))
