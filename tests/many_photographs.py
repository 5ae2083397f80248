"""The review page of many photographs, whose thumbnails are all alike, without the photographs."""

import hashlib
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from colorize_core import encoding
from jobs.pages import thumbnails
from jobs.pages.review import page as review_page
from jobs.storage.catalog import SCHEMA, Catalog


def write_page(output: Path, count: int) -> Path:
    """Write a catalogue of ``count`` photographs, 200 in a folder, into ``output``, and its page; the page's path."""
    numbers = range(count)
    confidence = np.random.default_rng(0).permutation(count) / count
    digests = [hashlib.sha256(str(i).encode()).hexdigest() for i in numbers]
    columns = {
        "id": [digest[:32] for digest in digests],
        "source": [f"/archive/{i // 200:03d}/photo-{i:05d}.jpg" for i in numbers],
        "output": [f"{output}/images/{i // 200:03d}/photo-{i:05d}.jpg.png" for i in numbers],
        "status": ["ok"] * count, "width": [640] * count, "height": [480] * count, "kind": ["grey"] * count,
        "output_sha256": digests, "confidence": confidence,
    }  # fmt: skip
    columns |= {name: [None] * count for name in SCHEMA.names if name not in columns}
    Catalog(str(output)).append(pa.table({name: columns[name] for name in SCHEMA.names}))
    tiny = thumbnails.of_file(encoding.encode(np.full((24, 32, 3), 90, np.uint8), "png"))
    with (
        patch.object(review_page, "FEW_PIXELS", float("inf")),  # here, in one go
        patch.object(review_page, "_thumbnails", lambda rows, output: ((row["output_sha256"], tiny) for row in rows)),
    ):
        review_page.write(str(output))
    return output / "review/index.html"
