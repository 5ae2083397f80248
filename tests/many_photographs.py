"""The review page of many photographs, whose thumbnails are all alike, without the photographs."""

import hashlib
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from colorize_core import encoding
from jobs.pages import thumbnails
from jobs.pages.review import page as review_page
from jobs.pages.review import pictures
from jobs.pages.review.pictures import Made
from jobs.storage.catalog import SCHEMA, Catalog


def write_page(output: Path, count: int, most: int = review_page.MOST, failed: int = 0) -> Path:
    """Write a catalogue of ``count`` photographs, 200 in a folder, into ``output``, and its page; the page's path.

    Of these, the last ``failed`` ones have no colours, for a reason that differs in its details.
    """
    numbers = range(count)
    confidence = [*np.random.default_rng(0).permutation(count - failed) / count, *[None] * failed]
    digests = [hashlib.sha256(str(i).encode()).hexdigest() for i in numbers]
    columns = {
        "id": [digest[:32] for digest in digests],
        "source": [f"/archive/{i // 200:03d}/photo-{i:05d}.jpg" for i in numbers],
        "output": [f"{output}/images/{i // 200:03d}/photo-{i:05d}.jpg.png" for i in numbers],
        "status": ["ok"] * count, "width": [640] * count, "height": [480] * count, "kind": ["grey"] * count,
        "output_sha256": digests, "confidence": confidence,
    }  # fmt: skip
    for name, value in {"status": "error", "output": None, "output_sha256": None}.items():
        columns[name][count - failed :] = [value] * failed
    columns["error"] = [
        None if i < count - failed else f"it is cut short after {i} bytes: copy it again" for i in numbers
    ]
    columns |= {name: [None] * count for name in SCHEMA.names if name not in columns}
    Catalog(str(output)).append(pa.table({name: columns[name] for name in SCHEMA.names}))
    tiny = thumbnails.of_file(encoding.encode(np.full((24, 32, 3), 90, np.uint8), "png"))
    with (
        patch.object(pictures, "FEW_PIXELS", float("inf")),  # here, in one go
        patch.object(pictures, "_pictures", lambda rows, _: (Made(row["output_sha256"], tiny, None) for row in rows)),
    ):
        review_page.write(str(output), most=most)
    return output / "review/index.html"
