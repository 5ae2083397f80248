"""What a file is, by its first kilobytes, and whether what cannot be read is lost or does not matter.

One rule: *a photograph that cannot be read is an error; what is not a photograph is skipped.* The content decides:

* a photograph in a format that is not read here (raw camera files, HEIC, JPEG XL, ...) is a ``PhotoError``, and so is
  a damaged one in a format that is;
* content of another kind (PDF, films, archives, what a Mac or Windows leaves in folders) is a ``NotAnImageError``,
  whatever its file is called;
* of content that says nothing (text, zeros, an empty file) the file's name decides: an ``UnknownContentError`` is a
  lost photograph where the name is that of one, and else a stray file. See ``is_stray``.
"""

import io
import struct
from contextlib import suppress
from pathlib import PurePosixPath

from PIL import AvifImagePlugin, Image, UnidentifiedImageError

from colorize_core import exif

HEAD_BYTES = 64 << 10  # of a file, that tell what it is


class PhotoError(ValueError):
    """A photograph that cannot be read; the message says what is wrong with it and what to do."""


class NotAnImageError(PhotoError):
    """Content that is known, and is not a photograph."""


class UnknownContentError(PhotoError):
    """Content that no known format begins with: a photograph damaged from its first bytes on, or any other file."""


# First bytes of formats that are read. Pillow has shorter ones for more, which a text may begin with by chance.
_READ = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "BigTIFF",
    b"MM\0+": "BigTIFF",
    b"GIF8": "GIF",
    b"8BPS\0\1": "Photoshop",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
}
_RAW = {
    b"II\x1a\0\0\0HEAPCCDR": "Canon CRW",
    b"IIRO": "Olympus ORF",
    b"IIRS": "Olympus ORF",
    b"MMOR": "Olympus ORF",
    b"IIU\0": "Panasonic RW2",
    b"FUJIFILMCCD-RAW": "Fujifilm RAF",
    b"FOVb": "Sigma X3F",
    b"\0MRM": "Minolta MRW",
}
_PHOTOGRAPHS = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"II\xbc": "JPEG XR",
    b"8BPS\0\2": "large Photoshop (PSB)",
    b"gimp xcf": "GIMP",
    b"v/1\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"BPG\xfb": "BPG",
}
_ELSE = {
    b"%!PS": "a PostScript document (EPS)",
    b"\xc5\xd0\xd3\xc6": "a PostScript document (EPS)",
    b"\xd7\xcd\xc6\x9a": "a drawing (WMF)",
    b"AT&TFORM": "a DjVu document",
    b"\0\5\x16\7": "what a Mac keeps beside a file (AppleDouble, ._NAME)",
    b"\0\5\x16\0": "what a Mac keeps of a file (AppleSingle)",
    b"\0\0\0\1Bud1": "a Mac's notes on a folder (.DS_Store)",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "a compound file of Microsoft's (Thumbs.db, Word, Excel)",
    b"PK\3\4": "a ZIP archive or an office document",
    b"PK\5\6": "an empty ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\7": "a RAR archive",
    b"\xfd7zXZ\0": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"\x1aE\xdf\xa3": "a film (Matroska, WebM)",
    b"\0\0\1\xba": "a film (MPEG)",
    b"\0\0\1\xb3": "a film (MPEG)",
    b"OggS": "sound or a film (Ogg)",
    b"ID3": "sound (MP3)",
    b"fLaC": "sound (FLAC)",
    b"SQLite format 3\0": "a database (SQLite)",
    b"PAR1": "a table (Parquet)",
    b"\x89HDF\r\n\x1a\n": "data (HDF5)",
    b"GRIB": "data (GRIB)",
    b"BUFR": "data (BUFR)",
    b"\x7fELF": "a program",
}

# ISO base media files: brands of ISO/IEC 23008-12 (HEIF) and Canon's.
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}

# TIFF tags and values of raw camera files: TIFF/EP (ISO 12234-2), DNG 1.7, and the compressions of single makers.
_NEW_SUBFILE_TYPE, _WIDTH, _COMPRESSION, _PHOTOMETRIC, _MAKE, _SUB_IFDS, _DNG_VERSION = (
    254,
    256,
    259,
    262,
    271,
    330,
    50706,
)
_CFA, _LINEAR_RAW = 32803, 34892
_RAW_COMPRESSIONS = {32767, 32769, 32770, 34713, 65000, 65535}
_MAKERS = {
    "NIKON": "Nikon NEF",
    "SONY": "Sony ARW",
    "PENTAX": "Pentax PEF",
    "RICOH": "Pentax PEF",
    "SAMSUNG": "Samsung SRW",
    "CANON": "Canon",
    "KODAK": "Kodak DCR",
    "EASTMAN KODAK": "Kodak DCR",
    "HASSELBLAD": "Hasselblad 3FR",
    "PHASE ONE": "Phase One IIQ",
    "LEAF": "Leaf MOS",
    "SEIKO EPSON": "Epson ERF",
    "MAMIYA": "Mamiya MEF",
}

# What Pillow opens and is no photograph, and photographs that Pillow does not open.
_NOT_PHOTOGRAPHS = {".bufr", ".emf", ".eps", ".grib", ".h5", ".hdf", ".iim", ".mpeg", ".mpg", ".pdf", ".ps", ".wmf"}
_MORE = """
    3fr arw avif bpg cr2 cr3 crw dcr dng erf exr fff hdr heic heif hif iiq jls jxl jxr kdc mef mos mrw nef nrw orf pef
    psb psd raf raw rw2 rwl sr2 srf srw wdp x3f xcf
"""
_MORE_PHOTOGRAPHS = {f".{suffix}" for suffix in _MORE.split()}


def sniff(head: bytes) -> None:
    """Raise for content that ``photo.read`` refuses for what it is, by its first ``HEAD_BYTES``, or more of it.

    Returns where a photograph may follow. Raises ``PhotoError`` for photographs in other formats, ``NotAnImageError``
    and ``UnknownContentError``. A raw file made of TIFF whose directories lie further back is found by the whole file.
    """
    if not head:
        raise UnknownContentError("the file is empty (0 bytes): copy it again from where it came from")
    if name := _raw_camera_file(head):
        raise PhotoError(f"it is a raw camera file ({name}): develop it to TIFF first")
    if begins_like(head):
        return
    if name := _starting(head, _PHOTOGRAPHS) or _other_photograph(head):
        raise PhotoError(
            f"it is a photograph in a format that is not read here ({name}): convert it to TIFF or PNG first"
        )
    if b"%PDF-" in head[:1024]:
        raise NotAnImageError("it is a PDF document, not a photograph: export its pages as TIFF to have them coloured")
    if what := _starting(head, _ELSE) or _other_content(head):
        raise NotAnImageError(f"it is {what}, not a photograph")
    if not _pillow_may_open(head):
        raise unknown(head)


def begins_like(head: bytes) -> str | None:
    """The format that is read here, and that content begins like beyond doubt."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if AvifImagePlugin.SUPPORTED and _brands(head) & _AVIF_BRANDS:
        return "AVIF"
    return _starting(head, _READ)


def unknown(head: bytes) -> PhotoError:
    """The error for what no decoder opens."""
    if name := begins_like(head):
        return PhotoError(f"it begins like a {name} file and is damaged or cut short after that: scan or copy it again")
    start = head[:512]
    if start.isascii() and not start.translate(None, b"\t\n\f\r" + bytes(range(32, 127))):
        return UnknownContentError("the content is text, not an image: if it was downloaded, download it again")
    return UnknownContentError(
        "the content is not an image in a format that can be read; if a viewer opens it, save it as PNG or TIFF"
    )


def is_stray(error: PhotoError, path: str) -> bool:
    """Whether a file that failed so is not a photograph, so that nothing is lost with it; see the rule above."""
    if isinstance(error, UnknownContentError):
        return not is_named_like_a_photograph(path)
    return isinstance(error, NotAnImageError)


def is_named_like_a_photograph(path: str) -> bool:
    suffix = PurePosixPath(path).suffix.lower()
    return suffix in _MORE_PHOTOGRAPHS or (suffix in Image.registered_extensions() and suffix not in _NOT_PHOTOGRAPHS)


def _starting(head: bytes, table: dict[bytes, str]) -> str | None:
    return next((name for magic, name in table.items() if head.startswith(magic)), None)


def _brands(head: bytes) -> set[bytes]:
    """Of an ISO base media file (ISO/IEC 14496-12, 4.3): the major brand, and those it is compatible with."""
    if head[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(head[:4], "big"), 256)
    return {head[8:12], *(head[i : i + 4] for i in range(16, end, 4))}


def _other_photograph(head: bytes) -> str | None:
    brands = _brands(head)
    if brands & _AVIF_BRANDS:
        return "AVIF"
    if brands & _HEIF_BRANDS:
        return "HEIF, HEIC"
    return "DICOM" if head[128:132] == b"DICM" else None


def _other_content(head: bytes) -> str | None:
    if head[4:8] in (b"ftyp", b"moov", b"mdat"):
        return "a film (MP4, QuickTime)"
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"WAVE"):
        return "a film or sound (AVI, WAV)"
    if head[40:44] == b" EMF":
        return "a drawing (EMF)"
    return "a tar archive" if head[257:262] == b"ustar" else None


def _pillow_may_open(head: bytes) -> bool:
    """Whether one of Pillow's formats takes the first bytes for its own; those that have no such test are tried."""
    Image.init()
    start = head[:16].ljust(16, b"\0")  # some of them stumble over less
    if any(accept and accept(start) for _, accept in Image.OPEN.values()):
        return True
    try:
        with (
            io.BytesIO(head) as file,
            Image.open(file, formats=[n for n, (_, accept) in Image.OPEN.items() if not accept]),
        ):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:  # it is in such a format, and its end is missing here
        return True


def _raw_camera_file(data: bytes) -> str | None:
    """The kind of raw camera file, many of which are TIFF files whose first directory is a small preview."""
    if name := _starting(data, _RAW):
        return name
    if b"crx " in _brands(data):
        return "Canon CR3"
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return None
    if data[8:10] == b"CR":
        return "Canon CR2"
    if data[8:12] in (b"IIII", b"MMMM"):
        return "Phase One IIQ"
    try:
        main = exif.parse(data).main
    except (struct.error, KeyError):
        return None
    directories = [main]
    for offset in exif.integers(main.get(_SUB_IFDS))[:16]:
        with suppress(struct.error):
            directories.append(exif.parse(data, offset).main)
    if _DNG_VERSION in main:
        return "DNG"
    if not any(
        {_CFA, _LINEAR_RAW} & {*exif.integers(found.get(_PHOTOMETRIC))}
        or _RAW_COMPRESSIONS & {*exif.integers(found.get(_COMPRESSION))}
        for found in directories
    ) and not _is_preview(main, directories[1:]):
        return None
    make = main[_MAKE].data.decode("latin-1").strip("\0 ") if _MAKE in main else ""
    known = (name for start, name in _MAKERS.items() if make.upper().startswith(start))
    return next(known, make or "of an unknown maker")


def _is_preview(main: exif.Directory, below: list[exif.Directory]) -> bool:
    """Whether the first directory says of itself that it is a reduced copy, and a larger picture is below it."""

    def of(directory: exif.Directory, tag: int) -> int:
        return next(iter(exif.integers(directory.get(tag))), 0)

    return bool(of(main, _NEW_SUBFILE_TYPE) & 1) and any(
        not of(sub, _NEW_SUBFILE_TYPE) & 1 and of(sub, _WIDTH) > of(main, _WIDTH) for sub in below
    )
