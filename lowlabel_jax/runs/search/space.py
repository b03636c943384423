"""Which settings a search tries: a config's space(trial), or what `--space` says.

The space is tried out before anything runs: some random settings of it are checked as configs.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lowlabel_jax.configuration import check, load
from lowlabel_jax.configuration.keys import Config
from lowlabel_jax.core.errors import UserError, nearest, problems
from lowlabel_jax.runs.sweep.plan import as_arguments
from lowlabel_jax.tuning.studies import quiet, said

Values = dict[str, Any]  # dotted path of a setting -> its value
Space = Callable[[Any], Values]  # an Optuna trial -> what it tries

DRAWS = 8  # random settings of a space that are checked before it is searched
FORM = "write --space 'optimizer.rate.peak=0.003..0.3:log;objective.threshold=0.8,0.95'."
MEASURE = ("source", "split", "seed", "seeds", "evaluate_every", "tune")  # decide what a score is


class Axis(NamedTuple):
    """One setting of `--space`: a range, or choices."""

    path: str
    low: Any = None
    high: Any = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    def suggest(self, trial: Any) -> Any:
        """The value that an Optuna trial takes."""
        if self.choices:
            return trial.suggest_categorical(self.path, self.choices)
        whole = isinstance(self.low, int)
        ask = trial.suggest_int if whole else trial.suggest_float
        return ask(self.path, self.low, self.high, log=self.log)


def space_of(file: str, text: str, config: Config) -> Space:
    """The space that `--space` says, else the config file's own. Raises UserError without one."""
    if text:
        axes = axes_of(text, config)
        return lambda trial: {axis.path: axis.suggest(trial) for axis in axes}
    path, _, argument = file.partition(":")
    module = None if path.endswith(".json") else load.read_module(path)
    if not hasattr(module, "space"):
        hint = "or add to it: def space(trial): return {PATH: trial.suggest_float(PATH, 0.1, 1)}"
        raise UserError(f"{path} defines no space(trial).", f"{FORM[:-1]}, {hint}")
    found = module.space  # type: ignore[union-attr]
    return (lambda trial: found(trial, argument)) if argument else found


def axes_of(text: str, config: Config) -> list[Axis]:
    """ "batch.mu=1..7;objective.threshold=0.8,0.95" as axes. Raises UserError with all faults."""
    known, axes, wrong = load.flat(config), [], []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        path, _, values = (word.strip() for word in part.partition("="))
        if path not in known:
            wrong.append(f"--space: unknown setting {path!r}.{nearest(path, known)}")
        elif path in [axis.path for axis in axes]:
            wrong.append(f"--space names {path} twice.")
        else:
            try:
                axes.append(axis_of(path, values, known[path]))
            except ValueError as error:
                wrong.append(f"--space: {path}={values}: {error}.")
    problems(wrong if axes or wrong else ["--space is empty."], FORM)
    return axes


def axis_of(path: str, text: str, now: Any) -> Axis:
    """ "0.003..0.3:log", "1..7" or "0.8,0.95" as an axis, typed as the setting's value is now.

    Raises ValueError where the text is none of these.
    """
    kind = int if now is None else type(now)
    low, dots, rest = text.partition("..")
    if not dots:
        given = [word.strip() for word in re.split(r",(?![^(]*\))", text) if word.strip()]
        if not given:
            raise ValueError("it has no values")
        return Axis(path, choices=tuple(_typed(word, kind) for word in given))
    high, _, how = rest.partition(":")
    if kind not in (int, float) or how not in ("", "log"):
        raise ValueError("a range is LOW..HIGH or LOW..HIGH:log, of numbers")
    ends = _typed(low, kind), _typed(high, kind)
    if not ends[0] < ends[1] or (how and ends[0] <= 0):
        raise ValueError("a range goes up, and from above 0 where it is logarithmic")
    return Axis(path, *ends, log=bool(how))


def _typed(word: str, kind: type) -> Any:
    """A word as a setting of a type has it; ValueError where it cannot be."""
    if kind is bool:
        if word.lower() not in ("true", "false"):
            raise ValueError("it must be True or False")
        return word.lower() == "true"
    return kind(word) if kind in (int, float) else word


def try_out(space: Space, file: str, overrides: Sequence[str]) -> dict[str, Any]:
    """{name: its distribution, as JSON has it} of a space, every draw of which would run.

    Raises UserError for settings that there are not, that are overridden too, or that decide what
    a score means.
    """
    import optuna

    found: dict[str, Any] = {}
    with quiet():
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for _ in range(DRAWS):
            trial = study.ask()
            _would_run(space(trial), file, overrides)
            found |= trial.distributions
    if not found:
        raise UserError("the space has nothing to choose from.", FORM)
    as_json = optuna.distributions.distribution_to_json
    return {name: json.loads(as_json(found[name])) for name in sorted(found)}


def _would_run(values: Values, file: str, overrides: Sequence[str]) -> None:
    if not isinstance(values, Mapping) or not values:
        raise UserError(
            f"space(trial) returns {values!r}, and not settings.",
            "return {PATH: VALUE}, as in configs/digits_search.py.",
        )
    problems(_misplaced(values, overrides), "leave it out of the space, or out of the command.")
    try:
        check.check(load.load(file, [*as_arguments(values), *overrides]))
    except UserError as error:
        tried = f"the space has a setting that would not run ({said(values)})"
        raise UserError(f"{tried}: {error.message}", error.hint) from None


def _misplaced(values: Values, overrides: Sequence[str]) -> Iterator[str]:
    for path in values:
        if path.split(".")[0] in MEASURE:
            yield f"{path} is no setting to search: scores of its values could not be compared."
        if path in load.parse(overrides):
            yield f"{path} is in the space and overridden too."


def own_values(names: Mapping[str, Any], config: Config) -> Values:
    """The config's own values of a space's names -> distributions; {} where it is not in the space.

    names: as `try_out` gives them.
    """
    known = load.flat(config)
    values = {name: known.get(name) for name in names}
    return values if all(_holds(names[name], value) for name, value in values.items()) else {}


def _holds(distribution: Mapping[str, Any], value: Any) -> bool:
    about = distribution["attributes"]
    if "choices" in about:
        return value in about["choices"]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and about["low"] <= value <= about["high"]
