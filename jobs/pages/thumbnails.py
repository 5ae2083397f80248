"""The pictures of the review page: jobs.colorize makes them while a photograph is in memory and keeps them in
OUTPUT/review/made until the page is written; those that are missing then are made from what is stored.
"""

import contextlib
import hashlib
import io
from collections.abc import Iterable
from typing import Any, NotRequired, TypedDict

import cv2
import imagecodecs
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import ExifTags, Image, ImageOps

from colorize_core.likeliest import packed
from colorize_core.photo import Photo, pillow_set_up
from jobs.storage import files
from jobs.storage.output import Place

SIDE = 320  # pixels, the longer side
LARGER = 1000  # of a copy to look closer at
QUALITY = 80  # of their JPEG
CAPTION = 1000  # characters
MADE = "review/made"
KEPT = pa.schema(
    [("output_sha256", pa.string()), ("jpeg", pa.binary()), ("caption", pa.string()), ("likeliest", pa.binary())]
)


class Thumbnail(TypedDict):
    jpeg: bytes
    caption: str
    """The words that EXIF has for the photograph, or nothing."""
    likeliest: NotRequired[bytes | None]
    """The network's likeliest colours at some places, see ``likeliest.packed``, where it was asked."""


def of_pixels(rgb: np.ndarray, exif: bytes | None, colours: np.ndarray | None = None) -> Thumbnail:
    """Of sRGB, (H, W, 3) uint8 or uint16, the EXIF block that goes with it, and the ``likeliest`` colours."""
    words = Image.Exif()
    if exif:
        words.load(exif)
    return {
        "jpeg": _jpeg(rgb), "caption": _caption(words), "likeliest": None if colours is None else packed(colours)
    }  # fmt: skip


def of_file(data: bytes) -> Thumbnail:
    """Of the first page of what is stored. Raises Pillow's errors, ``OSError`` mostly, for what it cannot read."""
    rgb, caption = _read(data, SIDE)
    return {"jpeg": _jpeg(rgb), "caption": caption}


def with_larger(data: bytes) -> tuple[Thumbnail, bytes]:
    """The same, and a JPEG that is large enough for a screen."""
    rgb, caption = _read(data, LARGER)
    return {"jpeg": _jpeg(rgb), "caption": caption}, _jpeg(rgb, LARGER)


def _read(data: bytes, side: int) -> tuple[np.ndarray, str]:
    """sRGB, (H, W, 3) uint8, of at least twice the ``side`` where there is as much; and the caption."""
    with pillow_set_up(), Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (2 * side, 2 * side))  # a large JPEG is decoded at a part of its size
        upright = ImageOps.exif_transpose(image)  # a JPEG is stored as its scan lay
        return np.asarray(upright.convert("RGB")), _caption(image.getexif())


def _jpeg(rgb: np.ndarray, side: int = SIDE) -> bytes:
    step = max(1, max(rgb.shape) // (4 * side))  # of a large one not all is read
    small = rgb[::step, ::step]
    while max(small.shape) >= 2 * side:  # halves are exact averages, and fast
        height, width = (max(1, n // 2) for n in small.shape[:2])
        small = cv2.resize(small[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    scale = min(1, side / max(small.shape))
    small = cv2.resize(small, [max(1, round(scale * n)) for n in small.shape[1::-1]], interpolation=cv2.INTER_LINEAR)
    return bytes(imagecodecs.jpeg8_encode(Photo(small).rgb_8bit, level=QUALITY))


def _caption(exif: Image.Exif) -> str:
    """EXIF's description or comment (CIPA DC-008, 4.6.4 and 4.6.5), or nothing."""
    words = exif.get(ExifTags.Base.ImageDescription)
    words = words if isinstance(words, str) else ""  # anything may be stored there
    with contextlib.suppress(UnicodeError):
        words = words.encode("latin-1").decode()  # Pillow takes for Latin-1 what is UTF-8 more often
    comment = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment) or b""
    if not words and isinstance(comment, bytes):
        code = "utf-16-le" if comment.startswith(b"UNICODE") else "utf-8"
        words = comment[8:].decode(code, "replace")
    return words.strip("\0 ")[:CAPTION]


def keep(output: str, made: Iterable[tuple[str, Thumbnail]]) -> None:
    """Store these, of outputs by their digests, until the page is written."""
    rows: list[dict[str, Any]] = [{"output_sha256": digest, **thumbnail} for digest, thumbnail in made]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, KEPT), sink, compression="none", use_dictionary=False)
    name = hashlib.sha256("".join(row["output_sha256"] for row in rows).encode()).hexdigest()[:20]
    files.write_bytes(f"{output}/{MADE}/{name}.parquet", sink.getvalue().to_pybytes())


def kept(output: str) -> pa.Table:
    """Which there are: columns ``output_sha256`` and ``made``, the file. One that is not whole counts as none."""
    place = Place(output)
    found = [pa.table({"output_sha256": pa.array([], pa.string()), "made": pa.array([], pa.string())})]
    for path in place.files(MADE):
        uri = f"{output}/{MADE}/{path.rpartition('/')[2]}"
        with contextlib.suppress(pa.ArrowInvalid), place.fs.open(path, "rb") as file:
            digests = pq.read_table(file, columns=["output_sha256"])
            found.append(digests.append_column("made", pa.array([uri] * len(digests), pa.string())))
    return pa.concat_tables(found)


def read(uris: Iterable[str], digests: Iterable[str]) -> dict[str, Thumbnail]:
    """What these files keep of these outputs, by their digests; nothing of files that cannot be read."""
    wanted, found = pa.array(digests, pa.string()), {}
    for uri in uris:
        try:
            table = pq.read_table(pa.BufferReader(files.read_bytes(uri)))
        except (OSError, pa.ArrowInvalid):
            continue
        for row in table.filter(pc.is_in(table["output_sha256"], value_set=wanted)).to_pylist():
            found[row.pop("output_sha256")] = row
    return found


def forget(output: str) -> None:
    """Delete all that are kept."""
    place = Place(output)
    for path in place.files(MADE):
        place.remove(path, lambda data: {*pq.read_schema(pa.BufferReader(data)).names} >= {"jpeg", "caption"})
    place.remove_folder(f"{place.root}/{MADE}", set())
