"""What every page that we write has in common: it needs no network, and text in it stays text."""

import base64
import html
import io
import re

import numpy as np

from lowlabel_jax.core.files import without_home
from lowlabel_jax.runs.data_check import data_pictures
from lowlabel_jax.runs.data_check.data_page import printable

# One column of text; tables and grids may be wider. Colours are Okabe and Ito's, and no colour says
# what no word says. Pictures are drawn for white paper, so they lie on a white card in the dark.
STYLE = """
:root { color-scheme: light dark; --paper: #fcfcfb; --card: #fff; --ink: #1f2326; --quiet: #596065;
  --line: #e3e4e2; --code: #f2f2ef; --link: #005a8f; --fine: #edf6f2; --fine-edge: #009E73;
  --bad: #fdf2ea; --bad-edge: #D55E00; --bad-ink: #a84300; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181a; --card: #1e2123; --ink: #e4e5e3;
  --quiet: #a3a9ad; --line: #35393c; --code: #222629; --link: #7cc0ee; --fine: #14291f;
  --bad: #33211a; --bad-ink: #ffa466; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 46rem) minmax(0, 1fr);
  padding: 3rem 1.2rem 5rem; }
main > * { grid-column: 2; margin: 0 0 1rem; min-width: 0; }
main > .grid, main > .pair { grid-column: 1 / -1; justify-self: center; width: min(64rem, 100%); }
main > .wide { grid-column: 1 / -1; justify-self: center; width: max-content;
  min-width: min(46rem, 100%); max-width: min(64rem, 100%); }
.slim table { width: auto; min-width: min(26rem, 100%); }
h1 { font-size: 1.9rem; line-height: 1.2; letter-spacing: -.015em; margin-bottom: .4rem; }
h2 { font-size: 1.3rem; line-height: 1.3; letter-spacing: -.01em; margin: 1.8rem 0 .7rem;
  padding-top: 1.2rem; border-top: 1px solid var(--line); scroll-margin-top: 1rem; }
h3 { font-size: 1.05rem; margin: 1.2rem 0 .4rem; }
a { color: var(--link); text-underline-offset: .15em; }
.quiet { color: var(--quiet); font-size: .92rem; }
.verdict { padding: .8rem 1.1rem; border-left: .3rem solid var(--fine-edge);
  border-radius: 0 .4rem .4rem 0; background: var(--fine); }
.verdict.wrong { border-color: var(--bad-edge); background: var(--bad); }
.kind { font-weight: 600; } .wrong .kind { color: var(--bad-ink); }
ul { padding-left: 1.2rem; } li { margin: .2rem 0; } details > summary { cursor: pointer; }
dl.numbers { display: flex; flex-wrap: wrap; gap: 1rem 2.4rem; margin: .9rem 0 1.4rem; }
.numbers dt { color: var(--quiet); font-size: .88rem; }
.numbers dd { margin: 0; font-size: 1.25rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.numbers small { display: block; font-size: .85rem; color: var(--quiet); }
.numbers div:first-child dd { font-size: 2.6rem; line-height: 1.05; letter-spacing: -.02em;
  font-weight: 600; } .numbers div:first-child small { font-weight: 400; letter-spacing: 0;
  line-height: 1.4; margin-top: .25rem; }
nav ul { columns: 2 16rem; list-style: none; padding: .9rem 1.1rem; background: var(--code);
  border-radius: .4rem; margin: 0; font-size: .95rem; }
nav li { margin: 0; padding: .1rem 0; break-inside: avoid; }
.scroll { overflow-x: auto; } .scroll:focus-visible { outline: 2px solid var(--link); }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th, td { padding: .3rem 1rem .3rem 0; text-align: left; vertical-align: baseline;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--quiet); font-weight: 600; } tr > :last-child { padding-right: 0; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td.bar { width: 9rem; min-width: 5rem; vertical-align: middle; }
td.name { max-width: 16rem; white-space: normal; } td.why { min-width: 14rem; white-space: normal; }
.wide th, .wide td { padding-right: .8rem; }
.bar i { display: block; height: .7rem; border-radius: 2px; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); gap: 1rem; }
.grid.two { grid-template-columns: repeat(auto-fill, minmax(14.5rem, 1fr)); }
.grid.many { grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); }
.pair { display: grid; grid-template-columns: repeat(2, minmax(0, 12rem)); gap: .8rem; }
figure { margin: 0; } figcaption { font-size: .82rem; line-height: 1.35; color: var(--quiet);
  margin-top: .3rem; }
figcaption b { color: var(--ink); font-weight: 600; }
.row { display: flex; gap: .3rem; } .row img { flex: 1 1 0; min-width: 0; }
img { max-width: 100%; height: auto; border: 1px solid #ccc; border-radius: 3px; display: block; }
.grid img, .pair img { width: 100%; } img.dots { image-rendering: pixelated; }
.preview img { max-width: none; }
.plot { margin-bottom: 1.4rem; } .plot img { width: 100%; min-width: 34rem; background: #fff;
  border: 1px solid var(--line); border-radius: .4rem; padding: .5rem; }
.plot figcaption { font-size: .9rem; margin-top: .5rem; }
pre { background: var(--code); padding: .8rem 1rem; overflow-x: auto; border-radius: .4rem;
  font-size: .88rem; }
@media (max-width: 34rem) { main { padding: 1.6rem 1rem 3rem; } h1 { font-size: 1.5rem; }
  .numbers div:first-child { flex-basis: 100%; }
  .grid { grid-template-columns: repeat(auto-fill, minmax(5.4rem, 1fr)); gap: .8rem; }
  .grid.two { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
@media print { :root { --paper: #fff; --ink: #000; --code: #f4f4f4; } nav { display: none; }
  main { display: block; padding: 0; } .plot img { min-width: 0; }
  figure, tr, pre { break-inside: avoid; } h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; } }
"""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def whole(title: str, body: str) -> str:
    """A page with a title, which is text, around a body, which is HTML."""
    return PAGE.format(title=safe(title), style=STYLE, body=body)


def safe(text: object) -> str:
    """Text from a disk as HTML that says it and does nothing, and names no user's home."""
    return html.escape(printable(without_home(str(text))))


def anchor(text: str) -> str:
    """What a heading is called in links: its letters and digits, the rest as hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def scrolling(body: str, name: str, kind: str = "") -> str:
    """HTML that scrolls sideways by itself, also by the keyboard. name: what it is, in words.

    kind: "wide" may be wider than the text, "slim" is as narrow as it can be.
    """
    style = f"scroll {kind}".strip()
    return f'<div class="{style}" tabindex="0" role="region" aria-label="{safe(name)}">{body}</div>'


def img(content: bytes, kind: str, alt: str, style: str = "") -> str:
    """A picture's bytes ("png" or "jpeg") in the page itself. alt: what it shows, in words."""
    encoded = base64.b64encode(content).decode()
    of_style = f' class="{style}"' if style else ""
    return f'<img{of_style} alt="{safe(alt)}" src="data:image/{kind};base64,{encoded}">'


def thumbnail(image: np.ndarray, alt: str) -> str:
    """image uint8 [h, w, c], a photo as JPEG; of few pixels as it is, for browsers to enlarge."""
    dots = max(image.shape[:2]) < data_pictures.SIDE // 2
    small, buffer = data_pictures.shrunk(image), io.BytesIO()
    small.save(buffer, **({"format": "png"} if dots else {"format": "jpeg", "quality": 85}))
    return img(buffer.getvalue(), "png" if dots else "jpeg", alt, "dots" if dots else "")
