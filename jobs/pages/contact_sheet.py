"""Pictures side by side, a row per photograph."""

import numpy as np
from PIL import Image, ImageDraw

MARGIN, HEADING = 6, 22  # pixels


def contact_sheet(headings: list[str], rows: list[list[np.ndarray]]) -> Image.Image:
    """A sheet of equally large pictures, uint8 (H, W) or (H, W, 3) each, under headings on neutral grey."""
    height, width = rows[0][0].shape[:2]
    sheet = Image.new(
        "RGB", ((width + MARGIN) * len(headings) + MARGIN, (height + MARGIN) * len(rows) + HEADING), "gray"
    )
    draw = ImageDraw.Draw(sheet)
    for column, text in enumerate(headings):
        draw.text((MARGIN + column * (width + MARGIN), 5), text, fill="white")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            place = MARGIN + column * (width + MARGIN), HEADING + row * (height + MARGIN)
            sheet.paste(Image.fromarray(picture), place)
    return sheet
