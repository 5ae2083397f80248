"""A photograph on its way through a worker, and the row of the catalogue that grows with it."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from colorize_core import encoding, formats, photo
from colorize_core.spliced import Spliced
from jobs.coloring.job import Policy
from jobs.pages.thumbnails import Thumbnail
from jobs.storage import files

if TYPE_CHECKING:
    from colorize_core.colorizer import Colouring


class NotStored(Exception):
    """OUTPUT's storage has refused what was made of a photograph; its cause says why."""


@dataclass(slots=True)
class Scan:
    """A photograph on its way."""

    id: str
    uri: str
    path: str
    size: int
    """Bytes of its file, as far as the listing knows."""
    row: dict
    kept: encoding.Format
    """That ``--format keep`` keeps of it."""
    hints: list[dict] = field(default_factory=list)
    """As the catalogue has them."""
    hinted_sha256: str | None = None
    """Digest of the file that they were said of, where that was in an earlier run."""
    made_sha256: str | None = None
    """Digest of its photograph in colour, as an earlier run has written it."""
    made_of: str | None = None
    """Digest of the file that this was made of."""
    made_at: datetime | None = None
    """When the row of that run was complete."""
    decision: str | None = None
    """What was said of that photograph in colour."""
    data: bytes = b""
    pages: list[photo.Page] = field(default_factory=list)
    photographs: list[photo.Photo] = field(default_factory=list)
    """Its grey pages, at the size at which they are coloured."""
    spliced: Spliced | None = None
    """What is to become a JPEG; its only page above is its guide."""
    keeps_luma: bool = False
    """Whether it is a JPEG that becomes one, as far as its headers say."""
    policy: Policy = "recolor"
    colourings: list["Colouring"] = field(default_factory=list)
    thumbnail: Thumbnail | None = None
    stray: bool = True
    """Whether content that says nothing, under a name that says nothing, is no photograph but a stray file."""
    label: str = ""
    """What it is called in its shard."""
    carried: bool = False
    """Whether its row and picture are those of an earlier run."""
    picture: bytes | None = None
    """Its file in colour, where that goes into a shard."""

    @property
    def failed(self) -> bool:
        return self.row["status"] != "ok"

    @property
    def memory(self) -> int:
        """Bytes that it takes from decoding to storing, about: grey, colour, the encoder's own, the result; or the
        coefficients of a JPEG, and colour at half the size."""
        each = 6 if self.keeps_luma else 12
        return len(self.data) + sum(each * page.width * page.height * page.bits // 8 for page in self.pages)

    def fail(self, reason: str, status: str = "error") -> None:
        self.row |= {"status": status, "error": reason, "finished_at": datetime.now(UTC)}
        self.data, self.photographs, self.spliced, self.thumbnail, self.picture = b"", [], None, None, None

    @contextlib.contextmanager
    def accounted(self, doing: str) -> Iterator[None]:
        """Add to its seconds, and let whatever goes wrong become its reason."""
        started = time.monotonic()
        try:
            yield
        except photo.PhotoError as error:
            self.fail(str(error), "skipped" if self.stray and formats.is_stray(error, self.path) else "error")
        except NotStored as error:
            self.fail(f"its colours could not be stored ({error.__cause__}): the same command tries again")
            self.row["source_version"] = ""  # not this photograph's doing: for the catalogue it is not done
        except files.TooLarge as error:
            self.fail(f"{error}, more than any photograph takes: cut it into parts, or check what it is")
        except OSError as error:
            self.fail(f"{doing} it failed ({error}): check that the place exists, its permissions and its free space")
        except MemoryError:
            self.fail(f"{doing} it ran out of memory: give the workers more, or scale it down")
        except Exception as error:
            self.fail(f"{doing} it failed unexpectedly ({type(error).__name__}: {error}): please report this")
        self.row["seconds"] += time.monotonic() - started


def sniff(head: bytes) -> None:
    """Raise what ``formats.sniff`` does where a file has more than these first bytes."""
    if len(head) == files.HEAD:  # else it is read already
        formats.sniff(head)
