"""The page of an evaluation: grey, every setting and the truth of each photograph side by side, the worst first."""

import base64
import html
import io
from collections import defaultdict

import numpy as np
from PIL import Image

from jobs.pages.static import figure, paragraph, static_page, table

SHOWN = 200  # photographs: more would make a page of tens of megabytes
QUALITY = 85  # of their JPEGs
WORDS = {"ciede2000": "CIEDE2000 {:.1f}", "psnr": "PSNR {:.1f} dB", "confidence": "confidence {:.2f}"}


def picture(image: np.ndarray) -> bytes:
    """A JPEG of (H, W, 3) uint8."""
    jpeg = io.BytesIO()
    Image.fromarray(image).save(jpeg, "JPEG", quality=QUALITY)
    return jpeg.getvalue()


def evaluation_page(source: str, said: str, summary: list[list[str]], measured: list[dict], shown: list[str]) -> bytes:
    """``summary`` is the table of means; ``measured`` has a row for each photograph and setting with its ``picture``;
    ``shown`` names the settings in their order, from grey over ours to the truth.
    """
    photographs: dict[str, dict[str, dict]] = defaultdict(dict)
    for row in measured:
        photographs[row["path"]][row["setting"]] = row
    judge = shown[1]
    worst = sorted(photographs, key=lambda path: -photographs[path][judge]["ciede2000"])
    order = f"The worst of {judge} come first, by their mean CIEDE2000"
    if len(worst) > SHOWN:
        order += f"; of {len(worst):,} photographs these are the worst {SHOWN}, evaluation.json has all"
    parts = [paragraph(said), table(summary), paragraph(f"{order}.")]
    for path in worst[:SHOWN]:
        figures = []
        for setting in shown:
            row = photographs[path][setting]
            known = (name for name in WORDS if row[name] == row[name])  # NaN is not
            measures = [WORDS[name].format(row[name]) for name in known]
            address = f"data:image/jpeg;base64,{base64.b64encode(row['picture']).decode()}"
            figures.append(figure(address, f"{path}, {setting}", setting, *(measures if setting != shown[-1] else ())))
        parts.append(
            f'<section class="photograph"><h2>{html.escape(path)}</h2>\n'
            f'<div class="pictures">\n{"".join(figures)}</div></section>\n'
        )
    return static_page(f"Evaluation on {source}", *parts)
