"""The proof that a worker sees the OUTPUT that its driver writes to. On a cluster, a folder of that name may be another
one on each machine: every worker would store its photographs where nobody looks for them."""

import json
import socket
import time

from jobs.storage.files import read_bytes
from jobs.storage.output import Hold

PATIENCE = 20.0  # seconds until a network folder shows on one machine what another has just made


def blind(output: str, hold: Hold) -> str | None:
    """Why this process cannot work for the job that has a ``hold`` of OUTPUT; None where all is well."""
    deadline = time.monotonic() + PATIENCE
    while reason := missing(output, hold):
        if time.monotonic() > deadline:
            return (
                f"the machine {socket.gethostname()} does not see the {output} that this job writes to ({reason}): "
                "choose an OUTPUT that all machines share, such as a bucket or a network folder"
            )
        time.sleep(1)
    return None


def missing(output: str, hold: Hold) -> str | None:
    """Why the ``hold`` is not what this process sees of OUTPUT now; None where it is."""
    try:
        found = json.loads(read_bytes(f"{output}/{hold.file}"))["token"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return str(error)
    return None if found == hold.token else f"its {hold.file} is another job's"
