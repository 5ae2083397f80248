"""A job over shards: each is done as a whole by one worker, which writes its rows too. The driver knows the shards, and
what their footers in the catalogue say, and no photograph.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from colorize_core import formats
from jobs.cli import UsageError
from jobs.coloring import hinted, refusal, todo
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.inputs import MOST, Share
from jobs.coloring.job import SUFFIX, Job, source_id
from jobs.coloring.loose import Files
from jobs.coloring.progress import Step
from jobs.coloring.shard_worker import Asked
from jobs.coloring.work import Work
from jobs.pages import decisions
from jobs.pages.review import page
from jobs.storage import shard_rows, shards
from jobs.storage.catalog import shard_paths
from jobs.storage.files import printable, unprintable
from jobs.storage.output import Lease, Place
from jobs.storage.parts import WHOLE
from jobs.storage.shard_rows import Footer, ShardRows

SUFFIXES = (".tar", ".parquet")
ENOUGH_UNSTORED = 3  # shards that cannot be stored, before a job gives up
SMALL = 20_000  # bytes of a photograph, by which it is judged whether a page can show all of them


def work_over(share: Share, job: Job, config: ColorizeConfig, place: Place) -> Work:
    """What a share of SOURCE amounts to. Raises ``UsageError`` where files are of several kinds.

    Files that do not fit into memory are taken for photographs: there are no millions of shards.
    """
    found = _shards(share.files, config.source) if share.listed <= MOST else None
    if found is None:
        thumbnails = job.thumbnails and share.listed <= page.MOST
        return Files(share, replace(job, thumbnails=thumbnails, format=config.format or "png"), config, place)
    if config.format == "parquet":
        raise UsageError("--format parquet is for photographs in files of their own: shards stay what they are")
    if config.variants > 1 or config.confidence_map:
        raise UsageError("--variants and --confidence-map write pictures of their own, which shards have no place for")
    few_enough = (pc.sum(found["bytes"]).as_py() or 0) <= page.MOST * SMALL
    told = replace(job, thumbnails=job.thumbnails and few_enough, format=config.format or "keep", sharded=True)
    return Shards(share._replace(files=found, listed=len(found)), share.listed - len(found), told, config, place)


def _shards(listed: pa.Table, source: str) -> pa.Table | None:
    """Those of the files that are shards; None where photographs are in files of their own.

    They are told by their names, and the first of each kind, or a single file, by its content.
    """
    paths = [os.fsdecode(path).lower() for path in _named(listed, SUFFIXES)["path"].to_pylist()]
    if not paths and len(listed) > 1:
        return None
    kinds = {}
    for suffix in SUFFIXES if len(listed) > 1 else ("",):
        some = _named(listed, (suffix,))
        if len(some) and _kind(os.fsdecode(some["uri"][0].as_py()), source):
            kinds[suffix] = some
    if not kinds:
        return None
    if len(kinds) > 1:
        raise UsageError(
            f"{source} holds shards of two kinds, tar archives and Parquet files: choose one by a glob such as "
            f"{source}/*.tar, and give the other an OUTPUT of its own"
        )
    (found,) = kinds.values()
    for path in listed["path"].to_pylist():
        name = os.fsdecode(path)
        if formats.is_named_like_a_photograph(name):
            raise UsageError(
                f"{source} holds shards and also photographs in files of their own, such as {printable(name)}: choose "
                f"the shards by a glob such as {source}/*{next(iter(kinds))}, and give the others their own OUTPUT"
            )
    return found


def _named(listed: pa.Table, suffixes: tuple[str, ...]) -> pa.Table:
    wanted = pa.array([False] * len(listed))
    for suffix in suffixes:
        wanted = pc.or_(wanted, pc.ends_with(listed["path"].cast(pa.large_binary()), suffix.encode(), ignore_case=True))
    return listed.filter(wanted)


def _kind(uri: str, source: str) -> shards.Kind | None:
    try:
        return shards.kind_of(uri)
    except shards.ShardError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        if not uri.lower().endswith(SUFFIXES):
            return None  # the only file, which is a photograph by its name, and gets a row
        raise UsageError(f"{uri} cannot be read ({error}): check {source} and your credentials") from error


class Shards(Work):
    noun, photographs, in_bytes = "shards", "shards", True

    def __init__(self, share: Share, beside: int, job: Job, config: ColorizeConfig, place: Place):
        """``beside`` are other files of SOURCE."""
        super().__init__(share, job, config, place)
        if beside:
            self.noun = f"shards ({beside:,} other {'file is' if beside == 1 else 'files are'} left alone)"
        if config.only:
            self._hear(decisions.read(config.only))
        self._heard: dict[str, list[str]] = {}
        self._redo: dict[str, list[str]] = {}
        if self.said:
            self._listen(self.said)
            self._check_versions()
        self._hints = self._given()
        self._left: dict[str, int] = {}
        self._lost: list[str] = []

    def _listen(self, said: decisions.Said) -> None:
        """Find the photographs of this part that something was said of, by the shards that they are in. Raises
        ``UsageError``.
        """
        known, ours = shard_rows.where(self.place, said.decisions), {*self.files["id"].to_pylist()}
        self._heard = {shard: ids for shard, ids in known.items() if shard in ours}
        redo = {id for id, decision in said.decisions.items() if decision == decisions.REDO}
        self._redo = {shard: some for shard, ids in self._heard.items() if (some := [id for id in ids if id in redo])}
        if self.config.archive_part == WHOLE:
            lost = said.decisions.keys() - set().union(*known.values()) | redo - set().union(*self._redo.values())
            if lost:
                raise said.not_held(lost, self.config.source, str(self.config.only))
        for shard in self._heard:
            rows = self._rows(shard, "source", "output_sha256")
            if not self.config.moved:
                said.check(rows, str(self.config.only))
            said = said.of_present(rows)
        self._hear(said)

    def _check_versions(self) -> None:
        """Refuse what is said of a shard that has changed since: a row of Parquet may be another photograph now."""
        if changed := self._redo.keys() - {*self._unchanged(self._redo)}:
            place = self.files["uri"][self.files["id"].to_pylist().index(min(changed))].as_py()
            raise hinted.changed_since(place, str(self.config.only))

    def _unchanged(self, shards: Iterable[str]) -> list[str]:
        """Those that are as the catalogue knows them, and so hold the photographs that it names."""
        there, versions = shard_paths(self.place), self.files.select(["id", "version"]).to_pydict()
        of = dict(zip(versions["id"], versions["version"], strict=True))
        known = {shard: shard_rows.footer(self.place, there[shard]) for shard in shards if shard in there}
        return [shard for shard, footer in known.items() if footer and footer.version == of[shard]]

    def _given(self) -> dict[str, dict[str, list[dict]]]:
        """Hints, by shard and photograph. A photograph's path is its shard's, a slash and its name there."""
        found: dict[str, dict[str, list[dict]]] = defaultdict(dict)
        if self.said and self.said.hints:
            for shard, ids in self._heard.items():
                if some := {id: self.said.hints[id] for id in ids if id in self.said.hints}:
                    found[shard] = some
        if self.config.hints:
            entries, lost = hinted.listed(self.config.hints), []
            paths: dict[str, dict[str, str]] = defaultdict(dict)
            of_path = dict(zip(self.files["path"].to_pylist(), self.files["id"].to_pylist(), strict=True))
            for path in entries:
                ends = (i for i, character in enumerate(path) if character == "/")
                within = next((one for i in ends if (one := os.fsencode(unprintable(path[:i]))) in of_path), None)
                if within:
                    name = path[len(printable(os.fsdecode(within))) :].encode()
                    shard, id = of_path[within], source_id(within + name)
                    found[shard][id], paths[shard][id] = entries[path], path
                else:
                    lost.append(path)
            for shard in self._unchanged(paths):
                held = {*self._rows(shard)["id"].to_pylist()}
                lost += [path for id, path in paths[shard].items() if id not in held]
            if lost and self.config.archive_part == WHOLE:
                raise hinted.not_held(self.config.hints, lost)
        if any(any(of_shard.values()) for of_shard in found.values()):
            self._check_hints()
        return found

    def record(self) -> None:
        if self.said:
            self._say_left_out()
            for shard, ids in self._heard.items():
                if some := {id: self.said.decisions[id] for id in ids if id in self.said.decisions}:
                    shard_rows.decide(self.job.output, shard, some)
        there = shard_paths(self.place)
        for refused in self.refused.to_pylist():
            said = there.get(refused["id"]) and shard_rows.footer(self.place, there[refused["id"]])
            if not said or said.version:  # of before it was refused
                source, path = (printable(os.fsdecode(refused[name])) for name in ("uri", "path"))
                with ShardRows(self.job.output, refused["id"], Footer(path, source, "")) as rows:
                    rows.add([refusal.row(refused, self.job)], ["png"])

    def wanted(self) -> pa.Table:
        """The largest first, so that in the end no machine waits for a single large one."""
        ids = self.files["id"].to_pylist()
        if self.said:
            why = [("to be done again" if id in self._redo else None) for id in ids]
        else:
            reasons = self._why(shard_rows.footers(self.place))
            anew = {id for id in self._hints if id not in reasons and self._differ(id)}
            why = [("given other hints" if id in anew else reasons.get(id)) for id in ids]
        files = self.files.append_column("why", pa.array(why, pa.string()))
        wanted = files.filter(pc.is_valid(files["why"])).sort_by([("bytes", "descending"), ("path", "ascending")])
        asked = [
            Asked(
                retry_errors=self.config.retry_errors,
                only=self._redo.get(id) if self.said else None,
                hints=self._hints.get(id, {}),
            ).json()
            for id in wanted["id"].to_pylist()
        ]
        return wanted.append_column("asked", pa.array(asked, pa.string()))

    def _differ(self, shard: str) -> bool:
        """Whether hints are others than those that the shard's photographs were coloured with."""
        given = self._hints[shard]
        rows = self._rows(shard, "hints").to_pylist()
        return any(row["id"] in given and given[row["id"]] != (row["hints"] or []) for row in rows)

    def _rows(self, shard: str, *columns: str) -> pa.Table:
        """Of a shard's file of the catalogue, the column ``id`` and these."""
        with shard_rows.opened(self.job.output, shard) as file:
            return file.read(["id", *columns])

    def _why(self, footers: dict[str, Footer | None]) -> dict[str, str]:
        """What is to be done, and why, by its id. What makes a shard one to be done again is what does a photograph of
        it: its footer says which there are of those that make a difference.
        """
        columns: dict[str, list] = defaultdict(list)
        reasons: dict[str, str] = {}
        for id, version in zip(self.files["id"].to_pylist(), self.files["version"].to_pylist(), strict=True):
            footer = footers.get(id)
            if footer is None:
                reasons[id] = "new" if id not in footers else "of which the catalogue's file is damaged"
            elif footer.version != version:
                reasons[id] = "changed since"
            else:
                for group in footer.groups:
                    columns["shard"].append(id)
                    columns["path"].append(f"a.{SUFFIX[group.kept]}".encode())
                    columns["version"].append(version)
                    for name in ("kind", "status", "model", "settings"):
                        columns[name].append(getattr(group, name))
        if columns:
            number = pa.array(range(len(columns["shard"]))).cast(pa.string())
            text = {name: pa.array(columns[name], pa.string()) for name in columns if name != "path"}
            groups = pa.table(text | {"id": number, "path": pa.array(columns["path"], pa.binary())})
            rows = groups.append_column("source_version", groups["version"])
            groups = groups.append_column("hinted_anew", pa.array([False] * len(groups)))
            again = todo.todo(groups, rows, self.job.weights_file.model, self.job, self.config.retry_errors)
            reasons |= dict(zip(again["shard"].to_pylist(), again["why"].to_pylist(), strict=True))
        return reasons

    def begin(self, wanted: pa.Table, lease: Lease) -> None:
        self._left = dict(zip(wanted["id"].to_pylist(), wanted["bytes"].to_pylist(), strict=True))

    def take(self, rows: pa.Table) -> Step:
        """Reports. With the last one of a shard all of it is done, whatever else than photographs it holds."""
        counts: Counter[str] = Counter()
        times, work, carried = [], 0, 0
        for report in rows.to_pylist():
            counts.update({status: report[status] or 0 for status in ("ok", "error", "skipped")})
            times += [report[name] for name in ("first", "last") if report[name]]
            left = self._left[report["shard"]]
            gone = left if report["done"] else min(left, report["bytes"])
            self._left[report["shard"]] -= gone
            work += gone
            carried += report["carried"] or 0
            if report["unstored"]:
                self._lost.append(report["unstored"])
        return Step(counts, times, work, carried)

    @property
    def unstored(self) -> str | None:
        return self._lost[-1] if len(self._lost) >= ENOUGH_UNSTORED else None

    def flush(self) -> None:
        pass

    def finish(self) -> None:
        if self._lost:
            raise OSError(self._lost[-1])

    def summary(self) -> dict:
        ids = {*self.files["id"].to_pylist(), *self.refused["id"].to_pylist()}
        footers = shard_rows.footers(self.place)
        found: dict = {"status": Counter(ok=0, error=0, skipped=0), "kind": Counter(), "doubtful": []}
        reasons: dict[str, dict] = {}
        for id, footer in footers.items():
            if footer is None or id not in ids:
                continue
            for group, count in footer.groups.items():
                found["status"][group.status] += count
                if group.kind:
                    found["kind"][group.kind] += count
            found["doubtful"] = shard_rows.least([*found["doubtful"], *footer.doubtful])
            for reason in footer.reasons.values():
                shard_rows.merge(reasons, reason)
        found["reasons"] = sorted(reasons.values(), key=lambda reason: -reason["count"])
        return found
