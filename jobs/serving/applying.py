"""The colouring job that does what people have decided, in a process of its own, with the settings of before."""

import asyncio
import json
import re
import sys
from collections import Counter

from jobs.cli import UsageError
from jobs.storage import files
from jobs.storage.catalog import Catalog
from jobs.storage.output import Place


def command(output: str, weights: str, only: str) -> list[str]:
    """Of ``jobs.colorize``, as it was called for most of the photographs. Raises ``UsageError``."""
    marker = Place(output).marker
    if not marker:
        raise UsageError(f"{output} does not say which SOURCE it is of: export the decisions, and use --only")
    rows = Catalog(output).read(["kind", "settings", "output"]).to_pylist()
    counted = Counter((row["kind"], row["settings"]) for row in rows if row["kind"])
    known = {digest: settings(output, digest) for digest in {digest for _, digest in counted}}
    found: dict[str, Counter] = {}
    for (kind, digest), count in counted.items():
        policy = {f"if_{kind}": known[digest]["policy"]}
        for name, value in (known[digest] | policy).items():
            found.setdefault(name, Counter())[value] += count
    most = {name: values.most_common(1)[0][0] for name, values in found.items()}
    format = most.get("format", "png")
    if any((row["output"] or "").startswith(f"{output}/parquet/") for row in rows):
        format = "parquet"
    elif len(found.get("format", ())) > 1:
        format = "keep"
    options = ["--format", format, "--weights", weights]
    for name in ("vividness", "variants", "if_color", "if_tinted", "if_text"):
        if most.get(name) is not None:
            options += [f"--{name.replace('_', '-')}", str(most[name])]
    options += ["--confidence-map"] if most.get("confidence_map") else []
    options += [] if most.get("provenance", True) else ["--no-provenance"]
    source = marker.get("list") or marker["source"]  # which may name photographs from elsewhere
    return [sys.executable, "-m", "jobs.colorize", source, output, "--only", only, *options]


def settings(output: str, digest: str) -> dict:
    uri = f"{output}/settings/{digest}.json"
    try:
        return json.loads(files.read_bytes(uri))
    except (OSError, ValueError) as error:
        raise UsageError(f"{uri} cannot be read ({error}): export the decisions, and use --only") from error


class Job:
    """One that runs, or that has ended."""

    def __init__(self, process: asyncio.subprocess.Process):
        self.process = process
        self.line = "The job starts"
        """What it has said last."""

    @classmethod
    async def start(cls, command: list[str]) -> "Job":
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=asyncio.subprocess.STDOUT))

    @property
    def running(self) -> bool:
        return self.process.returncode is None

    async def end(self) -> int:
        """Its exit status, once it has ended."""
        assert self.process.stdout
        async for line in self.process.stdout:
            text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line.decode(errors="replace")).strip()
            self.line = text[-500:] or self.line
        return await self.process.wait()
