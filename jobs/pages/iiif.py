"""What an archive offers to IIIF viewers: each photograph as it was scanned, with its colours as a choice beside it.

OUTPUT/iiif/collection.json leads through the folders to a manifest.json for each that holds photographs (IIIF
Presentation API 3.0). The original comes first, so that it is what a viewer opens with. A photograph without colours,
or whose colours a person has rejected, shows the original alone.
"""

import json
import mimetypes
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath
from urllib.parse import quote, urlsplit

from jobs.cli import UsageError
from jobs.pages import decisions
from jobs.storage import files
from jobs.storage.catalog import Catalog
from jobs.storage.output import Place

CONTEXT = "http://iiif.io/api/presentation/3/context.json"
FOLDER = "iiif"
COLUMNS = [
    "source", "output", "status", "width", "height", "source_sha256", "model", "colorfulness", "confidence", "decision",
]  # fmt: skip


def write(output: str, served: str, originals: str) -> str:
    """Write the manifests and collections of what the catalogue of ``output`` holds; the first collection's address.

    ``served`` is the URL at which ``output`` is to be found by viewers, ``originals`` that of the scans. Raises
    ``UsageError`` for what is no such URL, and for colours in Parquet files and shards, which have none.
    """
    served, originals = _url(served), _url(originals)
    place, photographs = Place(output), defaultdict(list)
    root = f"{(place.marker or {}).get('source', '')}/"
    for row in Catalog(output).read(COLUMNS).sort_by("source").to_pylist():
        if row["output"] and row["output"].startswith(f"{output}/parquet/"):
            raise UsageError(f"{output} holds Parquet files, in which pictures have no address: colour to PNG or JPEG")
        if row["output"] and row["output"].startswith(f"{output}/shards/"):
            raise UsageError(f"{output} holds shards, in which pictures have no address: unpack SOURCE and colour that")
        if row["width"] and row["source"].startswith(root):  # what was never decoded has no place on a canvas
            path = PurePosixPath(row["source"].removeprefix(root))
            if ".." in path.parts:
                raise UsageError(f"the catalogue of {output} names {path}, which leads out of it: see where it is from")
            photographs["" if str(path.parent) == "." else str(path.parent)].append((path.name, row))
    children: dict[str, set[str]] = defaultdict(set)
    for folder in photographs:
        while folder:
            parent = folder.rpartition("/")[0]
            children[parent].add(folder)
            folder = parent
    base = f"{served}/{FOLDER}"
    for folder, rows in photographs.items():
        address = _address(base, folder, "manifest.json")
        canvases = [
            _canvas(f"{address}/{place}", name, row, _picture(f"{originals}/{_quoted(folder)}{_quoted(name, '')}", row),
                    _colours(row, output, served))
            for place, (name, row) in enumerate(rows, 1)
        ]  # fmt: skip
        statement = {"requiredStatement": _entry("Colours", "Machine-made guesses; the original is the grey one.")}
        _store(output, folder, {"@context": CONTEXT} | _thing("Manifest", address, folder) | statement, canvases)
    for folder in {"", *children}:
        members = [_thing("Manifest", _address(base, folder, "manifest.json"), folder)] if folder in photographs else []
        for child in sorted(children[folder]):
            kind, name = ("Collection", "collection.json") if children.get(child) else ("Manifest", "manifest.json")
            members.append(_thing(kind, _address(base, child, name), child))
        address = _address(base, folder, "collection.json")
        _store(output, folder, {"@context": CONTEXT} | _thing("Collection", address, folder), members)
    return _address(base, "", "collection.json")


def _canvas(address: str, name: str, row: dict, original: dict, colours: dict | None) -> dict:
    body = original
    if colours:
        labels = "Original", f"Colours by a machine ({row['model']})"
        pictures = zip((original, colours), labels, strict=True)
        body = {"type": "Choice", "items": [picture | {"label": {"en": [label]}} for picture, label in pictures]}
    annotation = {"id": f"{address}/painting", "type": "Annotation", "motivation": "painting"}
    facts = {"SHA-256 of the original": row["source_sha256"], "Decision": row["decision"]}
    if colours:
        facts |= {"Model": row["model"], "Confidence": _rounded(row["confidence"])}
    return {
        "id": address,
        "type": "Canvas",
        "label": {"none": [name]},
        "width": row["width"],
        "height": row["height"],
        "metadata": [_entry(label, value) for label, value in facts.items() if value],
        "items": [
            {
                "id": f"{address}/page",
                "type": "AnnotationPage",
                "items": [annotation | {"body": body, "target": address}],
            }
        ],
    }


def _rounded(confidence: float | None) -> str | None:
    return None if confidence is None else f"{confidence:.2f}"


def _colours(row: dict, output: str, served: str) -> dict | None:
    """The picture in colour; None where there is none, where nothing was coloured (text), or a person rejected it."""
    if row["status"] != "ok" or not row["colorfulness"] or row["decision"] == decisions.REJECT:
        return None
    return _picture(f"{served}/{_quoted(row['output'].removeprefix(f'{output}/'), '')}", row)


def _picture(url: str, row: dict) -> dict:
    format = mimetypes.guess_type(urlsplit(url).path)[0] or "application/octet-stream"
    return {"id": url, "type": "Image", "format": format, "width": row["width"], "height": row["height"]}


def _thing(kind: str, address: str, folder: str) -> dict:
    return {"id": address, "type": kind, "label": {"none": [folder.rpartition("/")[2] or "Photographs"]}}


def _entry(label: str, value: str) -> dict:
    return {"label": {"en": [label]}, "value": {"none": [value]}}


def _store(output: str, folder: str, thing: dict, items: Iterable[dict]) -> None:
    uri = _place(f"{output}/{FOLDER}", files.unprintable(folder), f"{thing['type'].lower()}.json")
    files.write_bytes(uri, json.dumps(thing | {"items": list(items)}, ensure_ascii=False).encode())


def _address(base: str, folder: str, name: str) -> str:
    return f"{base}/{_quoted(folder)}{name}"


def _place(base: str, folder: str, name: str) -> str:
    return f"{base}/{folder}/{name}" if folder else f"{base}/{name}"


def _quoted(path: str, end: str = "/") -> str:
    """Part of a URL: of a name in the catalogue, byte by byte as the file system has it."""
    return quote(files.unprintable(path).encode("utf-8", "surrogateescape")) + end if path else ""


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise UsageError(f"{text} is not the URL of a folder, such as https://archive.example/colour")
    return text.rstrip("/")
