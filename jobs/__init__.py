"""Everything that runs on Ray, one file per job."""

import os

# Before PyTorch is imported: while its threads wait for each other they otherwise spin, which makes training several
# times slower wherever another process has one of the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
