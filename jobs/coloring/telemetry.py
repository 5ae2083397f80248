"""What the workers of a colouring job tell while they run: Ray's metrics, and a line of JSON for each photograph.

Metrics, on each node's Prometheus endpoint: ``ray_colorize_photographs_total`` by ``status``,
``ray_colorize_bytes_total`` by ``direction`` (read, written), and the histogram ``ray_colorize_seconds`` by ``stage``
(read, decode, network, store). The lines go to the worker's standard error, which Ray keeps with its logs. Where there
is no Ray there are no metrics, and lines only where ``to_standard_error`` was called.
"""

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

SECONDS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300]  # the histogram's boundaries
log = logging.getLogger("colorize")


def to_standard_error() -> None:
    """Let the lines go there."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)


class Telemetry:
    """Of one worker."""

    def __init__(self):
        ray = sys.modules.get("ray")
        self.metrics = bool(ray and ray.is_initialized() and ray.get_runtime_context().get_actor_id())
        self.ids = {"process": os.getpid()}
        if not self.metrics:
            return
        from ray.util.metrics import Counter, Histogram

        self.photographs = Counter("colorize_photographs", "Photographs that have a row.", ("status",))
        self.bytes = Counter("colorize_bytes", "Bytes of scans and of colour photographs.", ("direction",))
        self.seconds = Histogram("colorize_seconds", "Time in each stage.", SECONDS, ("stage",))
        self.ids = {"actor": ray.get_runtime_context().get_actor_id(), "node": ray.get_runtime_context().get_node_id()}
        to_standard_error()

    def say(self, event: str, **what) -> None:
        """A line of the log."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        log.info(json.dumps({"time": now, "event": event} | what | self.ids, default=str))

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            if self.metrics:
                self.seconds.observe(time.monotonic() - started, {"stage": stage})

    def moved(self, direction: str, data: bytes) -> bytes:
        """Count what is read or written, and hand it on."""
        if self.metrics and data:  # Ray's counters raise for 0
            self.bytes.inc(len(data), {"direction": direction})
        return data

    def done(self, row: dict) -> None:
        """A photograph's row of the catalogue is complete."""
        if self.metrics:
            self.photographs.inc(1, {"status": row["status"]})
        told = ("id", "source", "status", "error", "kind", "confidence", "seconds")
        self.say("photograph", **{name: row[name] for name in told if row.get(name) is not None})
