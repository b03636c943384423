"""The middle of a self-tuned run's report: the data, what was learnt, and the evidence for it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lowlabel_jax.runs.auto import auto_trials
from lowlabel_jax.runs.auto import auto_words as said
from lowlabel_jax.runs.auto.auto_read import Found
from lowlabel_jax.runs.pages.blocks import Block, Heading, Picture, Points, Table, Text

CLASSES = 50  # rows of the table of classes
Pictures = Mapping[str, Picture]


def data(found: Found) -> Iterator[Block]:
    """How many images there are for what, the classes, and what is odd."""
    yield Heading("The data")
    yield Text(said.counts(found))
    of = found.learnt["data"]
    if not of:
        yield absent("data")
        return
    height, width, channels = of["image_shape"]
    low, high = of["input_range"]
    yield Text(
        f"Task: {of['task']}, {of['num_classes']:,} classes. Images: {width} x {height}, "
        f"{'colour' if channels == 3 else 'grey' if channels == 1 else f'{channels} channels'}, "
        f"values {said.number(low)} to {said.number(high)}. Largest class to smallest: "
        f"{said.number(of['imbalance'])}."
    )
    yield _classes(of)
    if of.get("notes"):
        yield Points(of["notes"])
    yield from _noise(of.get("label_noise") or [])


def _classes(of: Mapping[str, Any]) -> Block:
    counts = list(zip(of["class_names"], of["label_counts"], strict=False))
    each = set(of["label_counts"])
    if len(each) == 1:
        return Text(f"Each class has {each.pop():,} labelled images.")
    rows = [(name, said.number(n)) for name, n in counts[:CLASSES]]
    if len(counts) > CLASSES:
        rows.append((f"and {len(counts) - CLASSES:,} more in tuning/data.json", ""))
    return Table(("class", "labelled images"), rows, numbers=(1,))


def _noise(hints: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    if not hints:
        yield Text("No label stands out as perhaps wrong.")
        return
    yield Text(
        "Labels worth a look: a model that was not trained on the image is sure of another class. "
        "Either may be wrong; nothing was done about it."
    )
    head = ("image", "label", "guess", "confidence")
    rows = [
        (
            hint.get("name") or f"number {hint['index']}",
            hint["label"],
            hint["guess"],
            f"{hint['confidence']:.3f}",
        )
        for hint in hints
    ]
    yield Table(head, rows, numbers=(3,), long=(0,))


def learnt(found: Found) -> Iterator[Block]:
    """Every setting before and after, with its reason."""
    yield Heading("What was learnt")
    values = found.tuned.get("values") or []
    if not values:
        yield Text("config.json has no learnt values, so this table is left out.")
        return
    yield Text(
        f"The policy {said.policy(found)} is these values; its name is made from them, so equal "
        "values have an equal name."
    )
    head = ("part", "setting", "in words", "before", "after", "why")
    rows = [
        (
            value["part"],
            value["path"],
            said.meaning(value["path"]),
            said.number(value["from"]),
            said.number(value["to"]),
            value["why"],
        )
        for value in values
    ]
    yield Table(head, rows, numbers=(3, 4), long=(2, 5))


def evidence(found: Found, shown: Pictures) -> Iterator[Block]:
    """Curves and trials, part by part."""
    yield Heading("The evidence")
    yield from _batch(found.learnt["batch"], shown)
    yield from _rate(found.learnt["rate"], shown)
    yield from _trials("Regularisation", "regularisation", found, shown)
    yield from _trials("Semi-supervised learning", "semi", found, shown)


def _batch(of: Mapping[str, Any] | None, shown: Pictures) -> Iterator[Block]:
    yield Heading("Batch size", 3)
    if not of:
        yield absent("batch")
        return
    yield Text(f"Chosen: {said.number(of['chosen'])}. Why: {of['why']}.")
    yield from _pictures(shown, "batch")
    memory = of.get("gib") or [None] * len(of["sizes"])
    measured = zip(of["sizes"], of["images_per_second"], memory, strict=True)
    rows = [tuple(map(said.number, row)) for row in measured]
    head = ("batch", "images a second", "GiB")
    yield Table(head, rows, numbers=range(3), folded="The same as numbers")
    if refused := of.get("refused"):
        yield Points([f"{each['size']:,} was refused: {each['why']}" for each in refused])


def _rate(of: Mapping[str, Any] | None, shown: Pictures) -> Iterator[Block]:
    yield Heading("Learning rate", 3)
    if not of:
        yield absent("rate")
        return
    yield Text(f"Chosen: {said.number(of['chosen'])}. Why: {of['why']}.")
    yield from _pictures(shown, "rate", "halving")
    rows = [
        (
            said.number(one["rate"]),
            one["state"] + ", chosen" * (one["rate"] == of["chosen"]),
            ", ".join(f"{r['step']:,}: {said.number(r['loss'])}" for r in one["rungs"]),
        )
        for one in of.get("halving") or []
    ]
    if rows:
        head = ("learning rate", "state", "loss after so many steps")
        yield Table(head, rows, numbers=(0,), long=(2,), folded="Halving as numbers")


def _trials(title: str, part: str, found: Found, shown: Pictures) -> Iterator[Block]:
    yield Heading(title, 3)
    of = found.learnt[part]
    if not of:
        yield absent(part)
        return
    chosen = f"preset {of['preset']}" if of.get("preset") else f"trial {of.get('chosen')}"
    yield Text(f"Chosen: {chosen}. Why: {of['why']}.")
    yield from _pictures(shown, "distance" if part == "regularisation" else "", part)
    ranked = auto_trials.in_order(of.get("trials") or [])
    if ranked:
        yield _table(ranked, of.get("chosen"))


def _table(ranked: Sequence[Mapping[str, Any]], chosen: int | None) -> Table:
    """All trials, whole: their values, the mean, its standard error, and each fold."""
    paths = list(dict.fromkeys(path for trial in ranked for path in trial["values"]))
    head = ("trial", "mean loss", "standard error", "folds", *paths)
    rows = [
        (
            auto_trials.name(trial, chosen),
            said.number(trial.get("mean")),
            said.number(auto_trials.spread(trial)),
            ", ".join(map(said.number, trial.get("loss") or [])),
            *(said.number(trial["values"].get(path)) for path in paths),
        )
        for trial in ranked
    ]
    return Table(head, rows, range(1, len(head)), folded=f"All {len(rows)} trials (–: as it was)")


def absent(part: str) -> Text:
    """What is said where a part's file is missing."""
    return Text(f"There is no tuning/{part}.json, so this part is left out.", "quiet")


def _pictures(shown: Pictures, *names: str) -> Iterator[Picture]:
    return (shown[name] for name in names if name in shown)
