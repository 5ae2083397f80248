"""What README and docs say must be there: pages, commands, options, columns."""

import importlib
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
from cyclopts import App

from jobs.__main__ import COMMANDS
from jobs.storage.catalog import SCHEMA

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OTHERS = {"--runtime-env-json", "--dashboard-agent-listen-port", "--follow"}
"""Options of Ray and Git that pages explain."""
OURS = ("jobs", "benchmarks", "colorize_core", "tests")
NAMED = re.compile(
    r"(?<![\w.])(?:python -m (?P<module>[\w.]+)|colorize (?P<job>[a-z]+)|make (?P<target>[a-z][\w-]*))\b(?P<rest>.*)"
)


def commands(page: Path) -> list[re.Match]:
    """The commands in a page's code, in blocks and in sentences, each on a line of its own."""
    text = page.read_text().replace("\\\n", " ")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    spans = re.findall(r"`([^`]+)`", re.sub(r"^```\w*\n.*?^```", "", text, flags=re.M | re.S))
    lines = [line for block in blocks for line in block.splitlines()] + [" ".join(span.split()) for span in spans]
    return [match for line in lines for match in NAMED.finditer(line.partition(" #")[0])]


def options(module: str) -> set[str]:
    """Those that a command of ours takes."""
    found = importlib.import_module(module)
    app = found.app if hasattr(found, "app") else App(default_command=found.main)
    names = {name for argument in app.assemble_argument_collection() for name in argument.names}
    return names | {"--help", "--version"}


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text()
    for link in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text):
        if "://" in link:
            continue
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {link}, which does not exist"
        if heading:
            assert heading in headings(target), f"{page.name} links to {link}: {path} has no such heading"


def headings(page: Path) -> set[str]:
    """As a forge makes anchors of them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_options_exist(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    for found in commands(page):
        if found["target"]:
            assert found["target"] in targets, f"{page.name}: there is no {found[0]}"
            continue
        if found["job"]:
            assert found["job"] in COMMANDS, f"{page.name}: there is no command {found[0]}"
        module = COMMANDS[found["job"]][0] if found["job"] else found["module"].rstrip(".")
        if module.partition(".")[0] not in OURS:
            continue
        assert find_spec(module), f"{page.name}: there is no module {module}"
        if not (words := [word for word in shlex.split(found["rest"], posix=False) if word.startswith("--")]):
            continue
        known = options(module)
        for word in words:
            name = re.match(r"--[\w-]+", word)[0]
            assert name in known, f"{page.name}: {module} has no option {name}"


def test_every_page_is_in_the_readme():
    linked = re.findall(r"\]\((docs/[\w.]+\.md)", (ROOT / "README.md").read_text())
    assert {ROOT / link for link in linked} == {*PAGES[1:]}


def test_an_option_in_a_sentence_is_one_of_some_command():
    known = {name for module, _ in COMMANDS.values() for name in options(module)}
    known |= {name for path in (ROOT / "benchmarks").glob("[a-z]*.py") for name in options(f"benchmarks.{path.stem}")}
    known |= OTHERS
    for page in PAGES:
        for span in re.findall(r"`(--[a-z][\w-]*)", page.read_text()):
            assert span in known, f"{page.name} names {span}, which no command has"


def test_the_catalogue_s_columns_are_described():
    page = (ROOT / "docs" / "catalogue.md").read_text()
    table = page[page.index("## Columns") : page.index("## How it is written")]
    described = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", table, re.M))
    assert described == {field.name: str(field.type) for field in SCHEMA}
