"""The first and the last word of a self-tuned run's report: what came out, and what that means."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lowlabel_jax.evaluation import statistics
from lowlabel_jax.runs.auto import auto_words as said
from lowlabel_jax.runs.auto.auto_fairness import fairness
from lowlabel_jax.runs.auto.auto_read import AUTO, UNTUNED, Found
from lowlabel_jax.runs.compare.compare_pages import interval, spread
from lowlabel_jax.runs.pages.blocks import Block, Heading, Picture, Points, Table, Text

ALWAYS = (
    "Learning had a cost of its own (see what it cost), which no method's steps hold. untuned had "
    "none of it; the other baselines use what it found for labelled images.",
    "The intervals and p are about other seeds (another draw of labels, other first weights) on "
    "these same test images. They say nothing of other data, or of images from another camera.",
    "A step is not a fixed amount of work: a semi-supervised step also looks at unlabelled images, "
    "several for each labelled one. Equal steps are equal updates, not equal seconds.",
    "Settings were chosen by the loss on validation images taken from the labelled ones; the test "
    "set was read once, after the last step of each run, and has chosen nothing.",
)
DOUBTS = (
    "With few labels the validation loss is itself uncertain: settings whose trials lie within one "
    "standard error of each other have not been told apart, whatever their order.",
    "Unlabelled images of classes that nobody labelled, or in other proportions than the labels, "
    "can make the semi-supervised phase worse; a falling pseudo-label accuracy shows it only where "
    "the true labels are known.",
    "Learnt values hold for this data, this network and this number of labels. With more labels, "
    "larger images or another network, learn anew.",
)


def headline(found: Found, picture: Picture | None) -> Iterator[Block]:
    """The policy's name, what it is worth against each baseline, and how sure that is."""
    yield Heading(f"Self-tuned run: {said.policy(found)}", 1)
    if not found.comparison:
        yield Text(said.own_accuracy(found), "verdict")
        yield Text("Without comparison/compare.json there are no baselines to compare with.")
        return
    pairs = said.against(found)
    for pair in pairs[:1]:
        worse = " wrong" * ("significantly worse" in said.conclusion(pair))
        yield Text(said.conclusion(pair), f"verdict{worse}")
    yield _table(found.comparison, pairs)
    if picture:
        yield picture
    if pairs:
        yield Text(_reading(pairs))
        yield from map(Text, _too_few(pairs))
        yield Points([said.conclusion(pair) for pair in pairs[1:]])
    yield _seeds(found.comparison)
    if skipped := found.comparison.get("skipped"):
        yield Points([f"left out: {run['run']} {run['reason']}" for run in skipped])


def _table(comparison: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]]) -> Table:
    head = ("method", "n", "mean ± sd", "95 % CI", f"{AUTO} is better by", "95 % CI", "p", "Holm p")
    of = {pair["b"]: pair for pair in pairs}
    rows = []
    for name, m in comparison["methods"].items():
        row = [name, str(m["n"]), spread(m), interval(m["ci95"])]
        if pair := of.get(name):
            row += [f"{pair['difference']:+.4f}", interval(pair["ci95"], "+")]
            row += [_p(pair["p"]), _p(pair["holm_p"])]
        rows.append(row + [""] * (len(head) - len(row)))
    return Table(head, rows, numbers=range(1, len(head)))


def _reading(pairs: Sequence[Mapping[str, Any]]) -> str:
    tests = " / ".join(dict.fromkeys(pair["test"] for pair in pairs))
    return (
        f"Test: {tests}, two-sided, over n seeds. The one comparison fixed in advance is {AUTO} "
        f"with {UNTUNED}: its p stands as it is. The others stand beside it, and their Holm p is "
        "adjusted over every two methods."
    )


def _too_few(pairs: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    fewest = statistics.fewest_pairs()
    if any(pair["n"] < fewest for pair in pairs):
        yield (
            f"With n < {fewest} no difference can be significant here: even if {AUTO} were better "
            f"on every seed, p could not fall below {statistics.LEVEL}."
        )


def _seeds(comparison: Mapping[str, Any]) -> Table:
    methods = comparison["methods"]
    seeds = sorted({seed for m in methods.values() for seed in m["seeds"]}, key=str)
    rows = []
    for name, m in methods.items():
        of = dict(zip(m["seeds"], m["values"], strict=True))
        rows.append((name, *(f"{of[s]:.4f}" if s in of else "–" for s in seeds)))
    head = ("method", *(f"seed {seed}" for seed in seeds))
    return Table(head, rows, range(1, len(head)), folded="Test accuracy of single seeds")


def limits(found: Found) -> Iterator[Block]:
    """What the comparison does and does not say, and when not to trust it."""
    yield Heading("What this comparison does and does not say")
    if found.comparison:
        yield from fairness(found)
        yield Points(ALWAYS)
    else:
        yield Text("There is no comparison/compare.json, so nothing is compared here.")
    yield Heading("When not to trust it", 3)
    yield Points([*_doubts(found), *DOUBTS])


def _doubts(found: Found) -> Iterator[str]:
    """What of this run's own numbers asks for care."""
    data = found.learnt["data"] or {}
    counts = data.get("label_counts") or []
    if counts and min(counts) < 10:
        yield f"The smallest class has {min(counts)} labelled images."
    if (data.get("imbalance") or 1) >= 2:
        yield (
            f"The largest class has {said.number(float(data['imbalance']))} times the labels of "
            "the smallest; accuracy hides what becomes of small classes (eval/test.json has each)."
        )
    if test := (found.test or {}).get("n"):
        half = 1.96 * 0.5 / test**0.5
        yield f"{test:,} test images: a single accuracy is known to within ±{half:.3f} at most."


def _p(p: float | None) -> str:
    return "–" if p is None else f"{p:.3g}"
