"""A folder of this user's on this machine, which the processes of a job share."""

import os
import stat
import tempfile


def folder() -> str:
    """Its path; it is made. Raises ``PermissionError`` where its name is taken by what is not ours alone: anybody may
    make files in the machine's temporary folder, also links that lead elsewhere.
    """
    path = os.path.join(tempfile.gettempdir(), f"colorize-{os.getuid()}")
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise PermissionError(
                f"{path} is not a folder that only this user can write to: remove it, or set TMPDIR to a folder of "
                "your own"
            ) from None
    return path
