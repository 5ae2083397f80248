"""Many photographs: a file is a command, a folder is what commands are made of."""

import os
import sys

try:
    import fcntl  # noqa: F401, its locks are how processes share a machine's memory
except ImportError:
    sys.exit(
        "error: colorize runs on Linux, not on Windows, whose Python lacks fcntl: install and run it in WSL, the "
        "Windows Subsystem for Linux"
    )

# Before PyTorch is imported: while its threads wait for each other they otherwise spin, which makes training several
# times slower wherever another process has one of the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
