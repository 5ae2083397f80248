import os
import tempfile

import pytest

from jobs.machine import scratch


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"colorize-{os.getuid()}"


def test_it_is_this_user_s_alone(temporary):
    assert scratch.folder() == scratch.folder() == str(temporary)
    assert temporary.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("taken", ["by a link", "by a file", "with rights for others"])
def test_what_others_could_have_made_is_refused(temporary, taken):
    if taken == "by a link":
        (temporary.parent / "elsewhere").mkdir(mode=0o700)
        temporary.symlink_to("elsewhere")
    elif taken == "by a file":
        temporary.write_text("")
    else:
        temporary.mkdir()
        temporary.chmod(0o777)
    with pytest.raises(PermissionError, match="only this user can write to: remove it, or set TMPDIR"):
        scratch.folder()
