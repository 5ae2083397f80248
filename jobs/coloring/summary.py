"""What a colouring job says when it ends."""

import sys
from collections import Counter
from collections.abc import Iterable
from typing import TextIO

import pyarrow as pa
import pyarrow.compute as pc

from jobs.coloring.progress import duration
from jobs.storage import shard_rows
from jobs.storage.catalog import Catalog, without_details

DOUBTFUL = 3  # photographs that the summary names


def summary(catalog: Catalog, ids: pa.Array | pa.ChunkedArray) -> dict:
    """Of the current rows of ``ids``: counts by status and kind, the reasons of what is not ``ok``, grouped, and the
    photographs whose colours are the most doubtful, by the network's own account.
    """
    rows = catalog.read(["id", "status", "kind", "confidence"])
    rows = rows.filter(pc.is_in(rows["id"], value_set=ids))
    problems, doubtful = [], []
    if len(unsure := rows.filter(pc.is_valid(rows["confidence"]))):
        unsure = unsure.take(pc.select_k_unstable(unsure, DOUBTFUL, [("confidence", "ascending")]))
        doubtful = catalog.read(["id", "source", "confidence"])
        doubtful = doubtful.filter(pc.is_in(doubtful["id"], value_set=unsure["id"])).sort_by("confidence")
        doubtful = doubtful.select(["source", "confidence"]).to_pylist()
    if len(bad := rows.filter(pc.not_equal(rows["status"], "ok"))):
        problems = catalog.read(["id", "source", "status", "error"])
        problems = problems.filter(pc.is_in(problems["id"], value_set=bad["id"])).sort_by("source").to_pylist()
    reasons: dict[tuple[str, str], dict] = {}
    for row in problems:
        group = reasons.setdefault((row["status"], without_details(row["error"])), {
            "status": row["status"], "reason": row["error"], "count": 0, "examples": [],
        })  # fmt: skip
        group["count"] += 1
        if len(group["examples"]) < 3:
            group["examples"].append(row["source"])
    return {
        "status": {"ok": 0, "error": 0, "skipped": 0} | _counts(rows["status"]),
        "kind": _counts(rows["kind"]),
        "doubtful": doubtful,
        "reasons": sorted(reasons.values(), key=lambda group: -group["count"]),
    }


def together(found: Iterable[dict]) -> dict:
    """The summaries of several parts as one."""
    status: Counter[str] = Counter(ok=0, error=0, skipped=0)
    kind: Counter[str] = Counter()
    doubtful: list[dict] = []
    reasons: dict[str, dict] = {}
    for part in found:
        status.update(part["status"])
        kind.update(part["kind"])
        doubtful = shard_rows.least([*doubtful, *part["doubtful"]])
        for reason in part["reasons"]:
            shard_rows.merge(reasons, reason)
    in_order = sorted(reasons.values(), key=lambda group: -group["count"])
    return {"status": dict(status), "kind": dict(kind), "doubtful": doubtful, "reasons": in_order}


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {pair["values"]: pair["counts"] for pair in pc.value_counts(column.drop_null()).to_pylist()}


def print_summary(found: dict, seconds: float, rate: float | None, out: TextIO = sys.stdout) -> None:
    for group in found["reasons"][:20]:
        example = group["examples"][0]
        more = f" (and {group['count'] - 1:,} more for the same reason)" if group["count"] > 1 else ""
        print(f"{group['status']}: {example}: {group['reason']}{more}", file=out)
    if len(found["reasons"]) > 20:
        print(f"... and {len(found['reasons']) - 20:,} more reasons in the catalogue", file=out)
    if found["doubtful"]:
        named = ", ".join(f"{row['source']} ({row['confidence']:.2f})" for row in found["doubtful"])
        print(f"the most doubtful colours, with their confidence: {named}", file=out)
    status, kinds = found["status"], sorted(found["kind"].items(), key=lambda pair: -pair[1])
    speed = f", {rate:.1f} photographs/s" if rate else ""
    print(
        f"{status['ok']:,} coloured, {status['error']:,} failed, {status['skipped']:,} skipped, in "
        f"{duration(seconds)}{speed}\n"
        f"kinds: {', '.join(f'{count:,} {kind}' for kind, count in kinds) or 'none'}",
        file=out,
    )
