from types import SimpleNamespace

from tests.conftest import pytest_terminal_summary


def test_what_was_skipped_is_said_in_the_end():
    said = []
    reasons = ["for want of chromium: apt-get install chromium"] * 2 + ["for want of photographs in shared/data"]
    skipped = [SimpleNamespace(longrepr=("test_page.py", 1, f"Skipped: {reason}")) for reason in reasons]
    reporter = SimpleNamespace(stats={"skipped": skipped}, write_line=lambda line, **markup: said.append(line))
    assert list(pytest_terminal_summary(reporter)) == [None], "after the summary of others"
    assert said == [
        "2 tests skipped for want of chromium: apt-get install chromium",
        "1 test skipped for want of photographs in shared/data",
    ]
