"""What workers tell; the rest of it is tested where jobs run (test_colorize.py)."""

import logging
from types import SimpleNamespace

import pytest
import ray

from jobs.coloring.telemetry import Telemetry


@pytest.fixture
def telemetry(monkeypatch) -> Telemetry:
    """As an actor of Ray's has it: with Ray's own counters."""
    here = SimpleNamespace(get_actor_id=lambda: "actor", get_node_id=lambda: "node")
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: here)
    log = logging.getLogger("colorize")
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "propagate", log.propagate)
    found = Telemetry()
    assert found.metrics
    return found


def test_an_empty_file_is_counted_too(telemetry):
    """Ray's counters take nothing that is not above 0, and what they raise would become the photograph's reason."""
    assert telemetry.moved("read", b"") == b""
    assert telemetry.moved("read", b"scan") == b"scan"
