"""The report of `lowlabel data-check` as one page that needs no network."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lowlabel_jax import __version__
from lowlabel_jax.core import files
from lowlabel_jax.data.source import Problem, where
from lowlabel_jax.runs.data_check.data_check import Found, is_wrong
from lowlabel_jax.runs.data_check.data_given import Data
from lowlabel_jax.runs.data_check.data_page import near, printed, verdict
from lowlabel_jax.runs.data_check.data_pictures import Panel, Pictures
from lowlabel_jax.runs.pages.web import img, safe, thumbnail, whole

LISTED = 200  # problems of a kind on the page; report.json has them all
BARS = {  # colours that the colour-blind can tell apart (Okabe and Ito)
    "train": "#56B4E9",
    "labelled": "#0072B2",
    "unlabelled": "#999999",
    "validation": "#E69F00",
    "test": "#009E73",
}


def html_page(data: Data, found: Found, shown: Pictures, previews: Sequence[bytes] = ()) -> str:
    """The whole page. previews: PNG pictures of what training sees."""
    body = "\n".join(_body(data, found, shown, previews))
    return whole(f"data-check: {data.name}", body)


def _body(data: Data, found: Found, shown: Pictures, previews: Sequence[bytes]) -> Iterator[str]:
    report = found.report
    yield f"<h1>What is in {safe(data.name)}</h1>"
    wrong = "wrong" if is_wrong(report) else ""
    yield f'<p class="verdict {wrong}">{safe(verdict(data, report))}</p>'
    yield from _problems(report["problems"], found.hints)
    if report["classes"]:
        yield from _classes(report)
        yield from _images(report)
        yield from _copies(report, shown.groups)
        yield from _near(report, shown.near)
        yield '<h2 id="samples">Samples</h2>'
        yield '<p class="quiet">Training images as they are cut for the network.</p>'
        for name, those in shown.samples.items():
            yield f'<h3>{safe(name)}</h3><div class="grid">{_figures(those)}</div>'
    for content in previews:
        yield '<h2 id="preview">Preview: what training sees</h2>'
        yield f'<div class="scroll preview">{img(content, "png", "preview")}</div>'
    yield f'<p class="quiet">lowlabel_jax {__version__}, {files.now()}</p>'


def _problems(problems: Sequence[Mapping[str, Any]], hints: Sequence[str]) -> Iterator[str]:
    yield '<h2 id="problems">Problems</h2>'
    if not problems:
        yield "<p>None.</p>"
    for kind in dict.fromkeys((p["kind"], p["wrong"]) for p in problems):
        those = [p for p in problems if (p["kind"], p["wrong"]) == kind]
        head = f'<span class="kind">{safe(kind[0])}</span> {len(those):,}'
        said = "wrong" if kind[1] else "worth a look"
        rows = "".join(f"<li>{_problem(p)}</li>" for p in those[:LISTED])
        more = len(those) - LISTED
        rows += f"<li>and {more:,} more in report.json</li>" if more > 0 else ""
        state = " open" if kind[1] or len(those) <= 10 else ""
        yield f'<details class="{"wrong" if kind[1] else "odd"}"{state}>'
        yield f'<summary>{head} <span class="quiet">({said})</span></summary>'
        yield f"<ul>{rows}</ul></details>"
    for hint in hints:
        yield f"<p>What to do: {safe(hint)}</p>"


def _problem(problem: Mapping[str, Any]) -> str:
    told = Problem(**printed(problem))
    return f"{safe(where(told))}{safe(told.detail)}"


def _classes(report: Mapping[str, Any]) -> Iterator[str]:
    """A row a class, a number and a bar a set; bars of a set are comparable."""
    yield '<h2 id="classes">Classes and sets</h2><div class="scroll wide"><table>'
    sets = list(next(iter(report["classes"].values())))
    heads = "".join(f'<th colspan="2">{safe(name)}</th>' for name in sets)
    yield f"<tr><th>class</th>{heads}</tr>"
    most = {name: max(of[name] for of in report["classes"].values()) or 1 for name in sets}
    for label, of in report["classes"].items():
        cells = "".join(
            f'<td class="n">{of[name]:,}</td><td class="bar">'
            f'<i style="width:{100 * of[name] / most[name]:.1f}%;'
            f'background:{BARS.get(name, "#CC79A7")}"></i></td>'
            for name in sets
        )
        yield f'<tr><td class="name">{safe(label)}</td>{cells}</tr>'
    totals = "".join(
        f'<td class="n">{report["splits"][name]["n"]:,}</td><td></td>' for name in sets
    )
    yield f"<tr><td>all images</td>{totals}</tr></table></div>"
    for name in (name for name in sets if report["splits"][name]["no_label"]):
        count = report["splits"][name]["no_label"]
        yield f'<p class="quiet">{count:,} images of {safe(name)} have no label.</p>'
    ratios = ", ".join(f"{of['ratio']:.1f} ({name})" for name, of in report["imbalance"].items())
    yield f'<p class="quiet">Largest class to smallest: {safe(ratios)}.</p>'


def _images(report: Mapping[str, Any]) -> Iterator[str]:
    """Sizes and kinds of the files, and the values of what training sees."""
    images = report["images"]
    height, width, channels = images["shape"]
    yield '<h2 id="images">Images</h2><div class="scroll wide"><table>'
    rows = {"training sees": f"{width} x {height}, {'colour' if channels == 3 else 'grey'}"}
    for key in ("smallest", "median", "largest"):
        rows |= {f"{key} file": " x ".join(map(str, images[key]))} if key in images else {}
    for key in ("formats", "modes"):
        counts = images.get(key, {}).items()
        rows |= {key: ", ".join(f"{name} {n:,}" for name, n in counts)} if counts else {}
    for name, of in report["splits"].items():
        if of.get("range"):
            mean, spread = (", ".join(f"{v:.1f}" for v in of[key]) for key in ("mean", "std"))
            sampled = f" (of {of['measured']:,} images)" if of["measured"] < of["n"] else ""
            rows[f"values, {name}"] = f"mean {mean}; standard deviation {spread}{sampled}"
    for name, said in rows.items():
        yield f'<tr><th>{safe(name)}</th><td class="name">{safe(said)}</td></tr>'
    yield "</table></div>"


def _copies(report: Mapping[str, Any], groups: Sequence[Sequence[Panel]]) -> Iterator[str]:
    yield '<h2 id="duplicates">Duplicates and leakage</h2>'
    within, across = len(report["duplicates"]), len(report["leakage"])
    yield f"<p>Equal images: {within} groups within a set, {across} between sets.</p>"
    for group in groups:
        yield f'<div class="grid">{_figures(group)}</div>'


def _near(report: Mapping[str, Any], pairs: Sequence[Sequence[Panel]]) -> Iterator[str]:
    yield '<h2 id="near">Near duplicates</h2>'
    yield f"<p>{safe(near(report))}. Rotated copies and parts of images are not looked for.</p>"
    for pair in pairs:
        yield f'<div class="pair">{_figures(pair)}</div>'


def _figures(panels: Sequence[Panel]) -> str:
    return "".join(
        f"<figure>{thumbnail(panel.image, ' '.join(panel.caption))}<figcaption>"
        f"{'<br>'.join(map(safe, panel.caption))}</figcaption></figure>"
        for panel in panels
    )
