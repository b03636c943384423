"""What every page that we write has in common: it needs no network, and text in it stays text."""

import base64
import html

from lowlabel_jax.runs.data_page import printable

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #222; --quiet: #555; --line: #e5e5e5;
  --fine: #eef7f4; --bad: #fdf1ea; --bad-ink: #a84300; --code: #f4f4f4; }
@media (prefers-color-scheme: dark) { :root { --paper: #181a1b; --ink: #e4e4e4; --quiet: #aaa;
  --line: #3a3d3f; --fine: #16302a; --bad: #3a2316; --bad-ink: #ffa466; --code: #262a2c; } }
body { margin: 0 auto; padding: 1.2rem; max-width: 68rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0 0 .6rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
.verdict { padding: .7rem 1rem; border-left: .4rem solid #009E73; background: var(--fine); }
.verdict.wrong { border-color: #D55E00; background: var(--bad); }
.kind { font-weight: 600; } .wrong .kind { color: var(--bad-ink); }
ul { padding-left: 1.2rem; margin: .2rem 0 .8rem; } details > summary { cursor: pointer; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { padding: .25rem .7rem .25rem 0; text-align: left; vertical-align: middle;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td.bar { width: 9rem; min-width: 5rem; } td.name { max-width: 16rem; white-space: normal; }
td.why { min-width: 16rem; white-space: normal; }
.bar i { display: block; height: .7rem; border-radius: 2px; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); gap: .8rem; }
.pair { display: grid; grid-template-columns: repeat(2, minmax(0, 12rem)); gap: .8rem;
  margin-bottom: 1rem; }
figure { margin: 0; } figcaption { font-size: .8rem; line-height: 1.3; color: var(--quiet); }
.plot { margin: 1rem 0; } .plot figcaption { font-size: .9rem; margin-top: .3rem; }
img { max-width: 100%; height: auto; border: 1px solid #ccc; display: block; }
.grid img, .pair img { width: 100%; } img.dots { image-rendering: pixelated; }
.preview img { max-width: none; } .quiet { color: var(--quiet); }
.plot img { width: 44rem; min-width: 32rem; background: #fff; }
pre { background: var(--code); padding: .6rem .8rem; overflow-x: auto; }
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
{body}
</body>
</html>
"""


def whole(title: str, body: str) -> str:
    """A page with a title, which is text, around a body, which is HTML."""
    return PAGE.format(title=safe(title), style=STYLE, body=body)


def safe(text: object) -> str:
    """Text from a disk as HTML that says it and does nothing."""
    return html.escape(printable(str(text)))


def img(content: bytes, kind: str, alt: str, style: str = "") -> str:
    """A picture's bytes ("png" or "jpeg") in the page itself. alt: what it shows, in words."""
    encoded = base64.b64encode(content).decode()
    of_style = f' class="{style}"' if style else ""
    return f'<img{of_style} alt="{safe(alt)}" src="data:image/{kind};base64,{encoded}">'
