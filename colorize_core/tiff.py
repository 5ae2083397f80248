"""TIFF: the pages of a file, and samples of more than 8 bits, which Pillow would cut, misread or refuse."""

import math
from collections.abc import Iterator
from typing import cast

import numpy as np
import tifffile

from colorize_core import exif
from colorize_core.exif import Directories, Directory

# Tags of TIFF 6.0, and values of PhotometricInterpretation, PlanarConfiguration and ExtraSamples.
NEW_SUBFILE_TYPE, WIDTH, HEIGHT, ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = (
    254,
    256,
    257,
    274,
    282,
    283,
    296,
)
XMP, IPTC, PHOTOSHOP, ICC_PROFILE = 700, 33723, 34377, 34675
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB = 0, 1, 2
_PLANAR = 2
_REDUCED_OR_MASK = 0b101  # bits of NewSubfileType
_MAX_VALUES = 32  # of a pixel: more than any camera's channels, and a bound on the memory that it takes
_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA = 1, 2


def is_one(data: bytes) -> bool:
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def pages(data: bytes) -> Iterator[tuple[int, Directories]]:
    """Directories of the main chain that are neither reduced copies nor masks, by their number in it; else the first.

    Each directory is read once, as it is come to. Raises ``ValueError`` where there is none.
    """
    first, some = None, False
    for number, found in enumerate(exif.chain(data)):
        first = first or found
        if not number_in(found.main, NEW_SUBFILE_TYPE) & _REDUCED_OR_MASK:
            some = True
            yield number, found
    if first is None:
        raise ValueError("its first directory is missing")
    if not some:
        yield 0, first


def number_in(directory: Directory, tag: int, default: int = 0) -> int:
    """The first value of a tag of unsigned integers."""
    return next(iter(exif.integers(directory.get(tag))), default)


def is_deep(directory: Directory) -> bool:
    """Whether ``decode`` is for its samples: grey or RGB of more than 8 bits, as integers or floating numbers."""
    bits = set(exif.integers(directory.get(_BITS_PER_SAMPLE)))
    return (
        len(bits) == 1 and bits.pop() > 8 and number_in(directory, _PHOTOMETRIC) in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB)
    )


def decode(file: tifffile.TiffFile, number: int) -> np.ndarray:
    """The samples of a directory of the chain, (H, W, 1 | 2 | 3 | 4) uint16.

    Integers of up to 16 bits are scaled by the bits that the file declares, so that white is 65535; others are
    ``stretched``. Alpha is unassociated.
    """
    page = cast(tifffile.TiffPage, file.pages[number])  # a TiffFrame, which knows less, must be asked for
    if (channels := page.samplesperpixel * page.imagedepth) > _MAX_VALUES:
        raise ValueError(f"it declares {channels} values for each pixel")
    declared, there = math.prod(page.chunked), zip(page.dataoffsets, page.databytecounts, strict=False)
    if (missing := declared - sum(1 for place, size in there if place and size)) > 0:  # tifffile takes them for black
        raise ValueError(f"of its {declared} strips or tiles {missing} are missing")
    values = page.asarray().reshape(page.shaped)  # planes, depth, height, width, samples
    values = np.moveaxis(values[:, 0, ..., 0], 0, -1) if page.planarconfig == _PLANAR else values[0, 0]
    colours = 3 if page.photometric == _RGB else 1
    extra = page.extrasamples[:1]
    see_through = extra in ((_ASSOCIATED_ALPHA,), (_UNASSOCIATED_ALPHA,))
    pixels = _to_16_bits(values[..., : colours + see_through], page.bitspersample, colours)
    if page.photometric == _MIN_IS_WHITE:
        np.invert(pixels[..., :colours], out=pixels[..., :colours])
    if extra == (_ASSOCIATED_ALPHA,):
        for line in pixels:
            alpha = np.maximum(line[:, colours:], 1) / 65535
            line[:, :colours] = np.rint(line[:, :colours] / alpha).clip(0, 65535)
    return pixels


def _to_16_bits(values: np.ndarray, bits: int, colours: int) -> np.ndarray:
    if values.dtype.kind != "u" or bits > 16:  # alpha has a range of its own
        return np.dstack([stretched(channels) for channels in np.split(values, [colours], axis=2) if channels.size])
    if bits == 16:
        return values.astype(np.uint16, copy=False)
    top = (1 << bits) - 1
    return np.rint(np.arange(1 << bits) * (65535 / top)).astype(np.uint16)[values & top]


def stretched(values: np.ndarray) -> np.ndarray:
    """Levels without a known white, of any shape, to uint16.

    As they are where they lie in [0, 65535], or floating numbers in [0, 1] times 65535; else over their own range,
    which is that of the finite ones. Infinities are white and black, and what is not a number is black. Raises
    ``ValueError`` where no value is finite.
    """
    if values.dtype == np.uint16:
        return values
    low, high = _range(values)
    unit = 1.0 if values.dtype.kind == "f" and high <= 1 else 65535.0
    if low < 0 or high > unit:
        unit = max(high - low, 1e-12)
    else:
        low = 0.0
    levels = np.empty(values.shape, np.uint16)
    for row, line in zip(levels, values, strict=True):  # by lines, for whole scans in float64 take 8 bytes a pixel
        line = np.nan_to_num((line.astype(np.float64) - low) / unit, posinf=1, neginf=0)
        row[:] = np.rint(line * 65535)
    return levels


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        finite = [(line.min(), line.max()) for row in values if (line := row[np.isfinite(row)]).size]
        if not finite:
            raise ValueError("no value in it is a finite number")
        low, high = float(min(low for low, _ in finite)), float(max(high for _, high in finite))
    return low, high
