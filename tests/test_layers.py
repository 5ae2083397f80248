"""The house: which modules there are at its top, and that none imports upwards or in a circle."""

import re
from pathlib import Path

from importlinter.cli import lint_imports

from jobs.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]


def test_no_module_imports_upwards_or_in_a_circle(capsys):
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), cache_dir=None)
    assert status == 0, capsys.readouterr().out


def test_a_file_in_jobs_is_a_command(monkeypatch):
    files = {path.stem for path in (ROOT / "jobs").glob("*.py")} - {"__init__", "__main__", "cli", "cluster"}
    assert files == {module.removeprefix("jobs.") for module, _ in COMMANDS.values()}


def test_tests_mirror_the_packages():
    """A test file is named after a module or a folder; what they have in common lies at the top."""
    for path in (ROOT / "tests").glob("*/**/test_*.py"):
        tested = ROOT / path.parent.relative_to(ROOT / "tests") / path.stem.removeprefix("test_")
        modules = (tested.with_suffix(suffix) for suffix in (".py", ".js"))
        assert tested.is_dir() or any(module.is_file() for module in modules), f"{path} tests no module"


def test_tests_do_without_benchmarks():
    for path in (ROOT / "tests").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) benchmarks", path.read_text(), re.MULTILINE), path
