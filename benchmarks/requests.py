"""How often a job asks an object store: the same photographs as files of their own, and in shards.

    python -m benchmarks.requests [--photographs 1000] [--shards 2]

The store is moto's, on this machine, which counts what it is asked. A job in which everything is done already is
counted as well. Photographs are small, so that a shard takes as many requests as its few megabytes do.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import parse_qs

import cyclopts
import fsspec
from moto.moto_server import threaded_moto_server
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from rich.console import Console
from rich.table import Table

from benchmarks.simulation import make, make_shards, pictures
from jobs.cli import OPTIONS

KINDS = ("list", "head", "get", "put", "delete")
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip


@dataclass(kw_only=True)
class RequestsConfig:
    """Count what a job asks an object store."""

    photographs: int = 1000
    shards: int = 2


class Counted(DomainDispatcherApplication):
    """Moto's application, which counts."""

    asked: ClassVar[Counter[str]] = Counter()

    def __call__(self, environ, start_response):
        method, query = environ["REQUEST_METHOD"].lower(), parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
        listing = method == "get" and ("list-type" in query or "prefix" in query)
        deleting = method == "post" and "delete" in query
        kind = "list" if listing else "delete" if deleting else "put" if method == "post" else method
        Counted.asked[kind] += 1
        return super().__call__(environ, start_response)


def main(config: Annotated[RequestsConfig, OPTIONS] = RequestsConfig()) -> None:  # noqa: B008
    some = pictures()
    table = Table()
    for heading in ("layout", "job", *KINDS, "of 1,000 photographs", "photographs/s"):
        table.add_column(heading, justify="left" if heading in ("layout", "job") else "right")
    with counting():
        for layout in ("files", "parquet", "webdataset"):
            scans = store(layout, some, config.photographs, config.shards)
            for job in ("coloured", "already done"):
                asked, rate = counted(scans, config.photographs)
                each = asked.total() / config.photographs * 1000
                counts = (f"{asked[kind]:,}" for kind in KINDS)
                table.add_row(layout, job, *counts, f"{each:,.0f}", f"{rate:.0f}" if rate else "")
    Console(width=120).print(table)


@contextlib.contextmanager
def counting() -> Iterator[None]:
    """A store on this machine that counts, which the environment leads to."""
    threaded_moto_server.DomainDispatcherApplication = Counted
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it tells of every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ.update(ENVIRONMENT | {"AWS_ENDPOINT_URL_S3": f"http://{host}:{port}"})
    fsspec.filesystem("s3").mkdir("archive")
    yield
    server.stop()


def store(layout: str, pictures: list[bytes], photographs: int, shards: int) -> str:
    """Put an archive into the store; its URI."""
    uri = f"s3://archive/{layout}-{photographs}-{shards}"
    with tempfile.TemporaryDirectory() as folder:
        scans = Path(folder, layout)
        if layout == "files":
            make(scans, pictures, photographs)
        else:
            make_shards(scans, pictures, photographs, shards, layout)
        fsspec.filesystem("s3").put(str(scans), uri.removeprefix("s3://"), recursive=True)
    return uri


def counted(scans: str, photographs: int) -> tuple[Counter[str], float | None]:
    """What a job over them asks, by ``KINDS``, and the photographs that it does in a second."""
    command = [sys.executable, "-m", "jobs.colorize", scans, f"{scans}-colour", "--json", "--no-review"]
    Counted.asked.clear()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said, asked = json.loads(done.stdout), Counter(Counted.asked)
    assert said["status"]["ok"] == photographs, said
    return asked, said["photographs_per_second"]


if __name__ == "__main__":
    cyclopts.run(main)
