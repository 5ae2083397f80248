"""What a job is about: photographs in files of their own, or in shards."""

import sys
from abc import ABC, abstractmethod

import pyarrow as pa

from jobs.cli import UsageError
from jobs.coloring.config import ColorizeConfig
from jobs.coloring.identity import told_apart
from jobs.coloring.inputs import Share
from jobs.coloring.job import Job
from jobs.coloring.progress import Step
from jobs.pages import decisions
from jobs.storage.catalog import Catalog
from jobs.storage.output import Lease, Place


class Work(ABC):
    """What there is to do for one start of the job, and what is kept of it. The driver has one."""

    noun: str
    """What is listed, worked on and resumed, in the plural."""
    photographs: str
    """The folder of OUTPUT for the photographs in colour."""
    in_bytes = False
    """Whether progress goes by bytes, since nobody has counted the photographs."""

    def __init__(self, share: Share, job: Job, config: ColorizeConfig, place: Place):
        self.part, self.listed = share.part, share.listed
        self.said: decisions.Said | None = None
        self._left_out = 0
        self.job, self.config, self.place, self.catalog = job, config, place, Catalog(job.output, share.part)
        found = told_apart(share.files, None if job.sharded else job.format, place.folds_names, share.folders)
        self.files, self.refused = map(share.part.rows, found)
        """Of this part, what is to be done, and what cannot have an output of its own, with a column ``problem``."""

    @property
    def total(self) -> int:
        return len(self.files) + len(self.refused)

    @abstractmethod
    def record(self) -> None:
        """Take down what is known before anything is done: what is refused, and what people have decided."""

    @abstractmethod
    def wanted(self) -> pa.Table:
        """What is to be done, with a column ``why``. Raises ``UsageError``."""

    @abstractmethod
    def begin(self, wanted: pa.Table, lease: Lease) -> None:
        """Before the first row comes."""

    @abstractmethod
    def take(self, rows: pa.Table) -> Step:
        """Keep what has come from a worker."""

    @property
    @abstractmethod
    def unstored(self) -> str | None:
        """Why OUTPUT is to be given up, if it is."""

    @abstractmethod
    def flush(self) -> None:
        """Keep what has come so far, also where the job is stopped."""

    @abstractmethod
    def finish(self) -> None:
        """See to what is left of earlier runs. Raises ``OSError``."""

    @abstractmethod
    def summary(self) -> dict:
        """As ``summary.summary`` has it."""

    def _hear(self, said: decisions.Said) -> None:
        """Go by what people have said."""
        self._left_out += len(self.said.decisions) - len(said.decisions) if self.said else 0
        self.said = said

    def _say_left_out(self) -> None:
        if self._left_out:
            print(
                f"{self._left_out:,} decisions of {self.config.only} are left out, since their photographs have other "
                "colours by now: look at those",
                file=sys.stderr,
            )

    def _check_hints(self) -> None:
        try:
            self.job.weights_file.check(self.config.vividness, self.config.variants, hints=True)
        except ValueError as error:
            raise UsageError(str(error)) from error
