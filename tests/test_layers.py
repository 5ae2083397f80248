"""The house: which modules there are at its top, that none imports upwards or in a circle, and what each takes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from importlinter.cli import lint_imports
from PIL import Image

from jobs import EXTRAS
from jobs.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]
PYPROJECT = (ROOT / "pyproject.toml").read_text()


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


BASE = re.findall(r'^    "([\w-]+)', re.search(r"^dependencies = \[(.*?)^\]", PYPROJECT, re.M | re.S)[1], re.M)


@pytest.fixture
def base_alone(tmp_path) -> dict[str, str]:
    """The environment of processes in which nothing is installed but what colouring takes."""
    (tmp_path / "without").mkdir()
    without = f"import sys\nsys.modules.update(dict.fromkeys({[*EXTRAS]}))\n"
    (tmp_path / "without/sitecustomize.py").write_text(without)
    return os.environ | {"PYTHONPATH": str(tmp_path / "without")}


def test_colouring_needs_the_base_alone(base_alone, tmp_path):
    assert not {*BASE} & {"torch", "torchvision", "scikit-image", "scipy", "matplotlib", "tensorboardX"}
    Image.fromarray(np.full((40, 60), 90, np.uint8)).save(tmp_path / "a.png")
    for more in ([], ["--format", "jpeg", "--actors", "1"]):  # beside the driver, and in Ray's actors
        line = [sys.executable, "-m", "jobs.colorize", tmp_path / "a.png", tmp_path / f"out-{len(more)}", *more]
        done = subprocess.run(line, env=base_alone, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0 and "1 coloured" in done.stdout, done


@pytest.mark.parametrize(
    "line, extra",
    [
        (["jobs.train", "photos", "--storage", "runs"], "train"),
        (["jobs", "train", "photos", "--storage", "runs"], "train"),
        (["jobs", "evaluate", "photos"], "train"),
        (["jobs", "export", "a.onnx"], "export"),
        (["jobs", "archive", "photos", "out", "--gpus", "1"], "gpu"),
    ],
)
def test_what_is_not_installed_is_said_in_a_sentence(base_alone, tmp_path, line, extra):
    (tmp_path / "photos").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", *line], env=base_alone | {"PYTHONPATH": f"{base_alone['PYTHONPATH']}:{ROOT}"},
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done
    sentence = r"error: [^\n]+ not installed: pip install 'colorize-archive\[(\w+)\]'\n"
    assert re.fullmatch(sentence, done.stderr)[1] == extra, done.stderr
