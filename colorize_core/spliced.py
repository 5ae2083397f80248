"""A colour photograph as a JPEG that has its scan's own luma: what is looked at of such a scan, and how it is written.

A JPEG's luma is carried over as it is stored (see ``jpeg``); of any other scan the grey is encoded once. Nothing is
turned: the file's EXIF says the orientation, as the scan's did.
"""

import io
from dataclasses import dataclass, replace

import imagecodecs
import numpy as np
from PIL import Image

from colorize_core import carried, color, encoding, jpeg, photo, recipe
from colorize_core.photo import Photo

SMALL = 1024  # pixels of the longer side, up to which a scan is looked at in full; larger ones are at half their size
_TRIAGE = 512  # pixels of the longer side that triage needs at least


@dataclass(frozen=True, slots=True, eq=False)
class Spliced:
    """A scan on its way to become a colour JPEG."""

    luma: jpeg.Plane
    size: tuple[int, int]
    """Height and width in pixels, as stored."""
    orientation: int
    """As EXIF has it, 1 to 8."""
    levels: np.ndarray
    """Luma at full or half size, as stored, (h, w) uint8."""
    tone: np.ndarray | None
    """Linear light of each level, (256,); None where it is that of sRGB."""
    recipe: list[bytes]
    """Marker segments by which a JPEG scan comes back (see ``recipe``)."""
    look: Photo
    """For triage: upright, in sRGB, grey or in colour, and as small as that allows."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels, upright."""
        return self.size if self.orientation < 5 else self.size[::-1]

    @property
    def guide(self) -> Photo:
        """For the network, and for the edges of its colours: grey, upright, in sRGB, at full or half size; with all the
        metadata."""
        levels = self.levels if self.tone is None else _srgb_levels(self.tone)[self.levels]
        return replace(self.look, pixels=np.ascontiguousarray(photo.upright(levels, self.orientation)))


def of_jpeg(data: bytes) -> Spliced | None:
    """A JPEG whose luma can be carried over; None where ``jpeg.read`` cannot, or where its profile's tones cannot be
    told. Raises ``PhotoError``.
    """
    with photo.said_clearly(data), io.BytesIO(data) as file, Image.open(file) as image:
        if image.format not in ("JPEG", "MPO"):
            return None
        try:
            scan = jpeg.read(data)
            tone = _tone(image.info.get("icc_profile"), grey=len(scan.planes) == 1)
        except jpeg.Unsuitable:
            return None
        dpi, orientation = photo.dpi_of(*image.info.get("dpi", (0, 0))), photo.orientation_of(image)
        metadata = carried.by_image(image, turned=False)
    longest = max(scan.width, scan.height)
    n = next((n for n in (1, 2, 4) if longest * n >= 8 * _TRIAGE), 8)
    levels = scan.picture(_part(longest))
    looked_at = levels if n == _part(longest) and len(scan.planes) == 1 else scan.picture(n, len(scan.planes) == 3)
    if tone is not None:
        looked_at = _srgb_levels(tone)[looked_at]
    look = Photo(np.ascontiguousarray(photo.upright(looked_at, orientation)), None, metadata.exif, dpi, *metadata[1:])
    size = (scan.height, scan.width)
    return Spliced(scan.luma, size, orientation, levels, tone, recipe.of(data, scan), look)


def of_photo(photograph: Photo) -> Spliced:
    """Any other scan, of 8 bits, its luma encoded once (``jpeg.LUMA_QUALITY``)."""
    grey = photograph.grey
    height, width = grey.shape
    luma = jpeg.plane(grey, jpeg.luma_steps())
    n = _part(max(height, width))
    levels = luma.samples(n, -(-height * n // 8), -(-width * n // 8))
    return Spliced(luma, (height, width), 1, levels, None, [], replace(photograph, pixels=levels))


def encode(spliced: Spliced, rgb: np.ndarray, xmp: bytes | None) -> bytes:
    """The colour JPEG, with the colours of ``rgb``: upright sRGB, (h, w, 3) uint8, of the size of the ``guide``.

    Chroma is reduced where luma and it would leave the gamut, at its own resolution. ``xmp`` takes the place of the
    scan's. The same input gives the same bytes.
    """
    from colorize_core import kernels

    stored = np.ascontiguousarray(photo.stored(rgb, spliced.orientation))
    codes = np.arange(256, dtype=np.float32)
    profile = encoding.srgb_profile()
    if spliced.tone is not None:
        codes = np.interp(color.srgb_to_linear(np.arange(256) / 255), spliced.tone, np.arange(256.0)).astype(np.float32)
        profile = encoding.srgb_profile_with(spliced.tone)
    chroma = np.empty((2, *spliced.levels.shape), np.uint8)
    kernels.chroma_beside(spliced.levels, stored, codes, chroma)
    height, width = spliced.size
    if spliced.levels.shape == spliced.size:
        chroma = np.stack([encoding.halved(plane) for plane in chroma])
    segments = encoding.jpeg_segments(replace(spliced.look, xmp=xmp), spliced.orientation, profile)
    return jpeg.write(spliced.luma, chroma, (height, width), segments + spliced.recipe)


def warm_up() -> None:
    """Have the loops compiled, which takes ten seconds the first time on a machine."""
    grey = Photo(np.full((16, 16), 128, np.uint8))
    made = of_jpeg(encode(of_photo(grey), grey.rgb, None))
    assert made is not None
    encode(made, grey.rgb, None)


def _part(longest: int) -> int:
    """Eighths of its size at which a scan is looked at."""
    return 8 if longest <= SMALL else 4


def _tone(profile: bytes | None, grey: bool) -> np.ndarray | None:
    """Linear light of each level of a scan's neutrals, by its profile; None where it is sRGB's, or there is no profile
    that can be used. Raises ``jpeg.Unsuitable`` where levels are not told apart by it.
    """
    if not profile or profile[16:20] != (b"GRAY" if grey else b"RGB "):
        return None
    levels = np.arange(256, dtype=np.uint16)[None] * np.uint16(257)
    neutrals = levels if grey else np.repeat(levels[..., None], 3, axis=2)
    try:
        rgb = imagecodecs.cms_transform(
            neutrals, profile, imagecodecs.cms_profile("srgb"), colorspace="gray" if grey else "rgb",
            outcolorspace="rgb", flags=imagecodecs.CMS.FLAGS.NOOPTIMIZE,
        )  # fmt: skip
    except imagecodecs.CmsError:
        return None
    tone = color.srgb_to_linear(rgb[0] / 65535) @ color.LUMINANCE
    if np.abs(color.linear_to_srgb(tone) - levels[0] / 65535).max() < 0.5 / 255:
        return None
    if (np.diff(tone) <= 0).any():
        raise jpeg.Unsuitable("its profile has no way back from tones to levels")
    return tone


def _srgb_levels(tone: np.ndarray) -> np.ndarray:
    return np.rint(255 * color.linear_to_srgb(tone)).astype(np.uint8)
