"""Every input has an output of its own, or a row that says why not, before the first one is read."""

import pyarrow as pa

from jobs.coloring.identity import identified
from jobs.coloring.job import source_id
from jobs.storage.listing import LISTING


def listed(*names: str) -> pa.Table:
    rows = [{"uri": b"/scans/" + name.encode(), "path": name.encode(), "version": "1", "bytes": 1} for name in names]
    return pa.Table.from_pylist(rows, LISTING)


def told(*names: str, format="png", folds_names=False) -> tuple[list[str], dict[str, str]]:
    """The paths that are coloured, and the problems of the others by their listed names."""
    good, bad = identified(listed(*names), format, folds_names)
    ids = good["id"].to_pylist() + bad["id"].to_pylist()
    assert len(set(ids)) == len(ids) == len(names), "an input has no row of its own"
    assert good["id"].to_pylist() == [source_id(path) for path in good["path"].to_pylist()]
    problems = zip(bad["uri"].to_pylist(), bad["problem"].to_pylist(), strict=True)
    return [path.decode() for path in good["path"].to_pylist()], {
        uri.decode().removeprefix("/scans/"): problem for uri, problem in problems
    }


def test_ordinary_names_are_left_as_they_are():
    names = ["a.jpg", "1912/a.jpg", "1912/a.png", "b ü [1].png", ".hidden", "1912/may/..strange", "a.jpg.png"]
    assert told(*names) == (names, {})


def test_names_that_lead_out_of_the_archive_are_refused():
    good, bad = told("a.png", "../../x.png", "1912/../a.png")
    assert good == ["a.png"]
    assert bad == dict.fromkeys(["../../x.png", "1912/../a.png"], "its name leads out of the archive (..): rename it")


def test_two_spellings_of_one_name_do_not_replace_each_other():
    good, bad = told("x//a.png", "x/a.png", "./b.png", "/c.png")
    assert good == ["x/a.png", "b.png", "c.png"], "normalised; the plain spelling wins"
    assert list(bad) == ["x//a.png"] and "take the place of that of /scans/x/a.png" in bad["x//a.png"]


def test_case_matters_where_the_file_system_says_so():
    assert told("A.png", "a.png")[1] == {}
    good, bad = told("A.png", "a.png", "B.png", folds_names=True)
    assert good == ["A.png", "B.png"] and "take the place of that of /scans/A.png" in bad["a.png"]


def test_any_name_that_a_file_system_may_take_for_another_s_is_refused():
    """Of letters beyond English, case and the ways to encode them; what folders end with, as DOS had it."""
    for one, other in (
        ("\u00c9.png", "\u00e9.png"), ("\u00e9.png", "e\u0301.png"), ("\u00c9.png", "e\u0301.png"),
        ("1912/a.png", "1912./a.png"), ("box /a.png", "box/a.png"),
    ):  # fmt: skip
        assert told(one, other)[1] == {}
        assert len(told(one, other, folds_names=True)[1]) == 1


def test_what_may_have_been_replaced_already_is_known_by_its_plain_id():
    """It may be done; where two have the same plain id, one of them is told by it."""
    refused = identified(listed("A.png", "a.png"), "png", True)[1]
    assert refused["id"].to_pylist() == [source_id("a.png")]
    refused = identified(listed("x/a.png", "x//a.png", "X/A.png", "X//A.png"), "png", True)[1]
    assert source_id("X/A.png") not in refused["id"].to_pylist() and len(set(refused["id"].to_pylist())) == 3


def test_what_a_client_of_a_bucket_would_read_by_another_s_name_is_refused():
    good, bad = told("a.png", "a.png/", "x//b.png/")
    assert good == ["a.png"] and list(bad) == ["a.png/", "x//b.png/"] and "rename it" in bad["a.png/"]


def test_an_output_cannot_be_called_like_a_folder_of_others():
    good, bad = told("x", "x.png/y.jpg", "y", "y.jpg/z.jpg")
    assert good == ["x.png/y.jpg", "y", "y.jpg/z.jpg"] and "called x.png, like a folder" in bad["x"]
    assert list(told("x", "x.png/y.jpg", "y", "y.jpg/z.jpg", format="jpeg")[1]) == ["y"]
    assert list(told("a.tar", "a.tar/b.tar", "a", format=None)[1]) == ["a.tar"], "as there are in buckets"


def test_the_same_names_are_refused_whatever_else_is_there_and_in_any_order():
    assert told("x/a.png", "x//a.png")[1].keys() == told("x//a.png", "x/a.png", "z.png")[1].keys() == {"x//a.png"}
