"""What every page of ours is made of: escaped text, inlined pictures, one file that asks no other host for anything."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable
from importlib import resources

from PIL import Image

from gansmith.evaluation.exhibit import Frame, Picture
from gansmith.version import __version__

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
WIDE = 1.7
"""Width over height from which a picture takes the whole width of the page."""


def escape(text: object) -> str:
    """Return text that is only text in HTML, in quotes too; what UTF-8 cannot hold becomes a question mark."""
    return html.escape(str(text).encode("utf-8", "replace").decode())


def document(title: str, body: str) -> str:
    """Return the page: its policy, style, script and body; `title` is escaped here, `body` is HTML."""
    here = resources.files("gansmith.evaluation")
    style, script = (here.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta name="generator" content="gansmith {escape(__version__)}">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def section(identifier: str, title: str, *parts: str, note: str = "") -> str:
    """Return a section with its heading and an introducing sentence, or "" where all parts are empty."""
    content = "\n".join(part for part in parts if part)
    if not content:
        return ""
    intro = f'<p class="intro">{escape(note)}</p>' if note else ""
    return f'<section id="{identifier}"><h2>{escape(title)}</h2>{intro}{content}</section>'


def image(data: bytes, alt: str, attributes: str = "") -> tuple[str, float]:
    """Return an `<img>` with the file inside it, and its width over its height.

    Args:
        data: a PNG or WebP file.
        alt: what it shows.
        attributes: more of the tag, as HTML.
    """
    with Image.open(io.BytesIO(data)) as picture:
        (width, height), kind = picture.size, str(picture.format).lower()
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    tag = f'<img src="{source}" width="{width}" height="{height}" alt="{escape(alt)}"{attributes}>'
    return tag, width / height


def figure(picture: Picture) -> str:
    """Return a picture with its title and caption."""
    tag, ratio = image(picture.png, picture.alt)
    wide = " wide" if ratio >= WIDE else ""
    words = f"<b>{escape(picture.title)}</b> {escape(picture.caption)}"
    return f'<figure class="picture{wide}"><figcaption>{words}</figcaption>{tag}</figure>'


def player(frames: Iterable[Frame]) -> str:
    """Return grids over time with a slider and a play button; without a script the newest is shown."""
    frames = list(frames)
    if not frames:
        return ""
    last = len(frames) - 1
    tags = []
    for index, frame in enumerate(frames):
        hidden = "" if index == last else " hidden"
        caption = f' data-caption="{frame.images:,} images seen"{hidden}'
        tags.append(image(frame.png, f"Grid of samples after {frame.images:,} images seen", caption)[0])
    controls = (
        '<div class="controls"><button type="button" class="play" aria-label="Play">▶</button>'
        f'<input type="range" min="0" max="{last}" value="{last}" step="1" aria-label="Moment of training" '
        f'aria-valuetext="{frames[-1].images:,} images seen"></div>'
    )
    return (
        f'<div class="player"><div class="frames">{"".join(tags)}</div>'
        f'<p class="seen" aria-live="polite">{frames[-1].images:,} images seen</p>{controls if last else ""}</div>'
    )


def pairs(values: Iterable[tuple[str, object]]) -> str:
    """Return a description list of what is not None."""
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in values if value is not None
    )
    return f"<dl>{items}</dl>" if items else ""


def command(text: str) -> str:
    """Return a command; one click selects it whole."""
    return f'<pre class="command"><code>{escape(text)}</code></pre>'
