"""Pages of plain HTML for what was measured: an evaluation's, a training run's. They hold no script."""

import html
from pathlib import Path

STYLE = Path(__file__).parent / "neutral.css"
POLICY = "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'"


def static_page(title: str, *parts: str) -> bytes:
    """``parts`` are HTML; ``title`` is text."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>
{STYLE.read_text()}</style>
</head>
<body>
<main class="sheet">
<h1>{html.escape(title)}</h1>
{"".join(parts)}</main>
</body>
</html>
""".encode()


def paragraph(text: str) -> str:
    return f'<p class="quiet">{html.escape(text)}</p>\n'


def table(rows: list[list[str]]) -> str:
    """The first row has the headings, the first column names the rows."""
    headings, *rows = [[html.escape(cell) for cell in row] for row in rows]
    head = "".join(f'<th scope="col">{cell}</th>' if cell else "<td></td>" for cell in headings)
    body = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>\n'
        for name, *cells in rows
    )
    frame = '<div class="scroll" tabindex="0" role="group" aria-label="Table">'  # which a keyboard can scroll
    return f"{frame}<table>\n<tr>{head}</tr>\n{body}</table></div>\n"


def figure(source: str, alternative: str, *caption: str) -> str:
    """A picture at ``source`` with lines of text beneath it."""
    lines = "<br>".join(html.escape(line) for line in caption)
    source, alternative = html.escape(source), html.escape(alternative)
    picture = f'<img src="{source}" alt="{alternative}" loading="lazy">'
    return f"<figure>{picture}<figcaption>{lines}</figcaption></figure>\n"
