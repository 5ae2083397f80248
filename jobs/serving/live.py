"""A photograph coloured again within a moment of each hint: at the size that is looked at, not at its own."""

from collections import OrderedDict
from dataclasses import dataclass, replace

import imagecodecs
import numpy as np

from colorize_core import color, photo
from colorize_core.colorizer import Colorizer, Colouring
from colorize_core.hints import Hint
from colorize_core.likeliest import packed
from jobs.coloring import hinted
from jobs.machine import admission
from jobs.pages import decisions
from jobs.storage import files, shards

WARM = 4  # photographs that are kept decoded
LARGEST = 2048  # pixels, the longer side of what is looked at
QUALITY = 90  # of its JPEG


@dataclass(frozen=True, slots=True)
class _Warm:
    """What is kept of a scan of a height in pixels."""

    height: int
    width: int
    shown: np.ndarray
    """Reduced to what is looked at, grey levels, uint8 or uint16; of its proportions."""


class Live:
    """Weights at work, and the last few scans; for one thread at a time."""

    def __init__(self, weights: str):
        self.colorizer = Colorizer.load(weights)
        self._warm: OrderedDict[tuple[str, str], _Warm] = OrderedDict()

    def make_ready(self, height: int, width: int) -> None:
        """Compile all that takes long for scans of these proportions, before somebody waits for it."""
        shape = [max(1, round(LARGEST / 4 * side / max(height, width))) for side in (height, width)]
        grey = np.full(shape, 128, np.uint8)
        color.merge(grey, self._look_at(grey).chroma[0])

    def _look_at(self, grey: np.ndarray) -> Colouring:
        """With its likeliest colours; and as ``picture`` will with a hint, so that the first is as fast as others."""
        (colouring,) = self.colorizer.predict([grey], likeliest_map=True)
        if self.colorizer.file.takes_hints:
            self.colorizer.predict([grey], hints=[[Hint(0, 0, None)]])
        return colouring

    def picture(self, source: str, version: str, hints: list[dict], vividness: float | None) -> bytes:
        """A JPEG of the scan ``source``, whose ``version`` the catalogue has, coloured with hints as the catalogue has
        them. Raises ``OSError``, ``PhotoError``, ``ValueError``.
        """
        scan = self._scan(source, version)
        hinted.check(hints, scan.height, scan.width)
        height, width = scan.shown.shape
        given = [
            replace(hint, x=min(hint.x, width), y=min(hint.y, height))  # sides are rounded
            for hint in decisions.hints(hints, max(scan.shown.shape) / max(scan.height, scan.width))
        ]
        (colouring,) = self.colorizer.predict([scan.shown], vividness, hints=[given])
        rgb = color.merge(scan.shown, colouring.chroma[0])
        return bytes(imagecodecs.jpeg8_encode(photo.Photo(rgb).rgb_8bit, level=QUALITY))

    def likeliest(self, source: str, version: str) -> bytes:
        """The network's likeliest colours at some places, see ``likeliest.packed``; nothing where it gives no
        distribution.
        """
        found = self._look_at(self._scan(source, version).shown).likeliest_map
        return b"" if found is None else packed(found)

    def _scan(self, source: str, version: str) -> _Warm:
        key = source, version
        if key not in self._warm:
            self._warm[key] = _read(source)
            if len(self._warm) > WARM:
                self._warm.popitem(last=False)
        self._warm.move_to_end(key)
        return self._warm[key]


def _read(source: str) -> _Warm:
    if within := shards.apart(source):
        shard, name = within
        try:
            data = shards.read_one(files.unprintable(shard), name)
        except FileNotFoundError:  # a folder may be called so
            within = None
    if not within:
        data = files.read_bytes(files.unprintable(source), most=8 * photo.MAX_PIXELS)
    first = photo.measure(data)[0]
    with admission.for_pixels().reserve(12 * first.width * first.height * first.bits // 8):
        grey = next(photo.pages(data)).grey
        height, width = grey.shape
        shown = grey
        if (largest := max(grey.shape)) > LARGEST:
            shown = color.reduced(grey, *(max(1, round(side * LARGEST / largest)) for side in grey.shape))
        return _Warm(height, width, shown)
