"""What a search has found: its trials, the best, what each setting matters. JSON and words."""

import shlex
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lowlabel_jax.core import files, log
from lowlabel_jax.runs.search import plots, score, study
from lowlabel_jax.runs.search.space import Values
from lowlabel_jax.runs.sweep.plan import as_arguments
from lowlabel_jax.tuning.studies import quiet

BEST = 5  # trials in the table
ENOUGH = 10  # finished trials, below which nothing is said of what matters
SEEDS = 6  # on which the best setting is to be trained


class Trial(NamedTuple):
    """One trial of a search."""

    number: int
    name: str  # its directory
    state: str  # complete, pruned, diverged, failed or running
    values: Values  # path -> value, as the config takes them
    params: Values  # as the space has named them
    score: float | None  # the median of its last looks; None where it did not come to its end
    looks: dict[int, float]  # step -> what was reported
    medians: dict[str, float]
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The trial as search.json has it."""
        return self._asdict()


def read(shared: Any) -> list[Trial]:
    """All trials of a study, by number."""
    return [_trial(frozen) for frozen in study.counted(shared)]


def _trial(frozen: Any) -> Trial:
    about = frozen.user_attrs
    unfinished = "failed" if about["failed"] else "running"
    state = about["state"] if frozen.state.is_finished() else unfinished
    return Trial(
        number=about["number"],
        name=study.name_of(about["number"]),
        state=state,
        values=dict(about["values"]),
        params=dict(frozen.params),
        score=frozen.value if state == "complete" else None,
        looks=dict(frozen.intermediate_values),
        medians=about.get("medians", {}),
        reason=about["failed"],
    )


def ranked(found: Sequence[Trial], by: str) -> list[Trial]:
    """The trials that came to their end, best first; of equal scores the lower loss, then the
    earlier trial."""
    up = -1 if score.DIRECTIONS[by] == "maximize" else 1
    complete = [(up * t.score, t.medians["loss"], t) for t in found if t.score is not None]
    return [trial for *_, trial in sorted(complete, key=lambda row: (*row[:2], row[2].number))]


def importance(shared: Any, found: Sequence[Trial]) -> dict[str, float] | None:
    """{name: its share of the score's variance} by fANOVA, over the trials that came to their end.

    None below ten of them, or where their scores are all the same.
    """
    import optuna

    complete = [trial for trial in found if trial.score is not None]
    names = set.intersection(*(set(trial.params) for trial in complete))
    if len(complete) < ENOUGH or not names or len({trial.score for trial in complete}) == 1:
        return None
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = optuna.importance.get_param_importances(shared, evaluator=evaluator)
    return {name: round(float(value), 4) for name, value in given.items()}


def write(folder: Path, asked: Mapping[str, Any], shared: Any, found: Sequence[Trial]) -> None:
    """Write search.json, best.json and the plots, and say them. One trial at least is complete."""
    ranking, matters = ranked(found, asked["score"]), importance(shared, found)
    best = ranking[0]
    command = shlex.join(training(asked, best, folder))
    what = f"validation {asked['score']}, median of the last {score.LAST} looks"
    about = {name: asked[name] for name in ("config", "overrides", "space", "names", "prune")}
    chosen = {"trial": best.name, "score": best.score, "what": what, "of": len(found)}
    chosen |= {"config": asked["config"], "overrides": best.values, "command": command}
    files.write_json(folder / "best.json", chosen)
    trials = [trial.to_json() for trial in found]
    whole = {**about, "score": what, "best": chosen, "importance": matters, "trials": trials}
    files.write_json(folder / "search.json", whole)
    plots.write(folder, found, asked)
    log.say("\n" + "\n".join(table(found, ranking, what)))
    log.say(_of_importance(matters, len(ranking)))
    log.say(
        f"\n{best.name} was chosen by validation: the best of {len(found)} scores is an optimistic "
        "one, and no trial has read the test set. What the setting is worth, other seeds tell:"
    )
    log.say(f"next: {log.typed(command)}")
    log.say(f"search: {folder}  (search.json, best.json, history.png, settings.png)")


def training(asked: Mapping[str, Any], best: Trial, folder: Path) -> list[str]:
    """The command that trains the best setting on other seeds, and reads the test set."""
    first = asked["seed"] + 1
    return [
        "python",
        "launch.py",
        f"--config={asked['config']}",
        f"--workdir={folder / 'best'}",
        f"--grid=seed={first}:{first + SEEDS}",
        *as_arguments(best.values),
        *(word for word in asked["overrides"] if not word.startswith("--config.seed=")),
    ]


def table(found: Sequence[Trial], ranking: Sequence[Trial], what: str) -> list[str]:
    """The best trials as lines: score, then the settings by the ends of their names."""
    paths = list(dict.fromkeys(path for trial in ranking for path in trial.values))
    names = short(paths)
    rows = [["trial", "score", *names]]
    for trial in ranking[:BEST]:
        cells = [_cell(trial.values.get(path, "")) for path in paths]
        rows.append([trial.name, f"{trial.score:.4f}", *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    states = [trial.state for trial in found]
    counts = [f"{states.count(s)} {s}" for s in dict.fromkeys(states)]
    head = f"the best of {len(found)} trials ({', '.join(counts)}) by {what}:"
    lines = (
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )
    return [head, *(f"  {line}" for line in lines)]


def short(paths: Sequence[str]) -> list[str]:
    """The shortest ends of dotted paths that tell them apart."""

    def end(path: str, n: int) -> str:
        return ".".join(path.split(".")[-n:])

    def shortest(path: str) -> str:
        others = [other for other in paths if other != path]
        depths = range(1, path.count(".") + 2)
        return next((end(path, n) for n in depths if end(path, n) not in
                     [end(o, n) for o in others]), path)  # fmt: skip

    return [shortest(path) for path in paths]


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _of_importance(matters: Mapping[str, float] | None, complete: int) -> str:
    if matters is None:
        why = f"{complete} finished" if complete < ENOUGH else "their scores are all the same"
        return f"importance of each setting: not said, it takes {ENOUGH} finished trials ({why})"
    shares = zip(short(list(matters)), matters.values(), strict=True)
    said = ", ".join(f"{name} {value:.2f}" for name, value in shares)
    return f"importance of each setting (fANOVA over {complete} trials; rough): {said}"
