"""The study that a search's workers share: an Optuna journal in the search's folder.

A trial is begun, or taken up where a dead process left it, by one worker at a time. Who holds a
trial holds a lock that the kernel frees when its process dies.
"""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from lowlabel_jax.runs.search import score
from lowlabel_jax.runs.search.space import Space, Values
from lowlabel_jax.tuning.studies import journal, quiet

STARTUP = 6  # random trials before TPE has anything to go by
ATTEMPTS = 2  # of a trial in one go of the search: one that kills its process shall not kill all
WARM_UP = 1 / 3  # of a run, in which no trial is pruned


class Taken(NamedTuple):
    """A trial that this process has."""

    number: int
    trial: Any  # Optuna's
    values: Values
    looks: frozenset[int]  # steps that it has reported before it was taken up again
    lock: IO[str]

    @property
    def name(self) -> str:
        """Its directory below the search's folder."""
        return name_of(self.number)


def name_of(number: int) -> str:
    """A trial's directory below the search's folder."""
    return f"trial-{number:03d}"


def open_study(folder: Path, asked: Mapping[str, Any]) -> Any:
    """The study in FOLDER/study, as the search was asked to be."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    prunes = asked["prune"] == "median"
    median = optuna.pruners.MedianPruner(n_startup_trials=4)
    goal: Any = score.DIRECTIONS[asked["score"]]
    with quiet():
        return optuna.create_study(
            storage=journal(folder / "study" / "journal.log"),
            study_name="search",
            load_if_exists=True,
            direction=goal,
            pruner=median if prunes else optuna.pruners.NopPruner(),
        )


def mend(folder: Path) -> None:
    """Cut off a last line of the journal that a crash left unfinished, if no worker is alive."""
    path = folder / "study" / "journal.log"
    path.parent.mkdir(exist_ok=True)
    with open(path.parent / ".workers", "a") as alive:
        try:
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # a worker whose search was killed is still at its last trial
            return
    whole = path.read_bytes() if path.exists() else b""
    if whole and not whole.endswith(b"\n"):
        path.write_bytes(whole[: whole.rfind(b"\n") + 1])
    (path.parent / f"{path.name}.lock").unlink(missing_ok=True)


def counted(study: Any) -> list[Any]:
    """Optuna's frozen trials less those that were killed before their values were kept."""
    return [t for t in study.get_trials(deepcopy=False) if "values" in t.user_attrs]


def ended(study: Any) -> list[Any]:
    """The trials that have ended: complete, pruned or diverged."""
    return [trial for trial in counted(study) if trial.state.is_finished()]


def take(
    folder: Path, study: Any, asked: Mapping[str, Any], session: Mapping[str, Any], space: Space
) -> Taken | None:
    """The next trial: one that a dead process left, else a new one; None where none is left."""
    import optuna

    running = (optuna.trial.TrialState.RUNNING,)
    with quiet(), _alone(folder / "study"):
        for frozen in study.get_trials(deepcopy=False, states=running):
            if "values" not in frozen.user_attrs:  # killed while it was being asked for
                study.tell(frozen.number, state=optuna.trial.TrialState.FAIL)
            elif taken := _again(folder, study, frozen, session["number"]):
                return taken
        if len(counted(study)) >= session["trials"]:
            return None
        return _anew(folder, study, asked, session["number"], space)


def _again(folder: Path, study: Any, frozen: Any, session: int) -> Taken | None:
    """A trial that is running, if nobody has it and it has not failed in this go."""
    import optuna

    about = frozen.user_attrs
    attempts = about["attempts"] if about["session"] == session else 0
    lock = None if attempts >= ATTEMPTS else _lock(folder, about["number"])
    if lock is None:
        return None
    trial = optuna.trial.Trial(study, frozen._trial_id)
    _attempt(trial, session, attempts + 1)
    looks = frozenset(frozen.intermediate_values)
    return Taken(about["number"], trial, dict(about["values"]), looks, lock)


def _anew(
    folder: Path, study: Any, asked: Mapping[str, Any], session: int, space: Space
) -> Taken | None:
    """A new trial: the config's own settings first, then what TPE suggests, seeded by number."""
    import optuna

    number = len(counted(study))
    if (lock := _lock(folder, number)) is None:
        return None
    seed = 1_000 * asked["seed"] + number
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
    if number == 0 and asked["own"]:
        study.sampler = optuna.samplers.PartialFixedSampler(asked["own"], study.sampler)
    trial = study.ask()
    values = space(trial)
    trial.set_user_attr("number", number)
    _attempt(trial, session, 1)
    trial.set_user_attr("values", values)  # last: with them the trial counts
    return Taken(number, trial, values, frozenset(), lock)


def _attempt(trial: Any, session: int, attempts: int) -> None:
    for name, value in {"attempts": attempts, "session": session, "failed": ""}.items():
        trial.set_user_attr(name, value)


def should_prune(taken: Taken, step: int, total: int, value: float) -> bool:
    """Keep what a look has found at a step of `total`; whether the trial ends there.

    A look that was reported before the trial was taken up again is asked about only if it was the
    last: at the others it went on.
    """
    if step not in taken.looks:
        taken.trial.report(value, step)
    elif step < max(taken.looks):
        return False
    return taken.number > 0 and step >= WARM_UP * total and taken.trial.should_prune()


def tell(study: Any, taken: Taken, state: str, numbers: Mapping[str, float], value: float) -> None:
    """Keep how a trial has ended: complete with its score, pruned, or diverged."""
    import optuna

    states = optuna.trial.TrialState
    taken.trial.set_user_attr("state", state)
    taken.trial.set_user_attr("medians", dict(numbers))
    with quiet():
        if state == "complete":
            study.tell(taken.trial, value)
        else:
            study.tell(taken.trial, state=states.PRUNED)


def forget(run: Path) -> None:
    """Delete the checkpoints of a trial that was pruned; config, metrics and log stay."""
    for name in ("checkpoints", "manifests"):
        shutil.rmtree(run / name, ignore_errors=True)


def set_aside(taken: Taken, reason: str) -> None:
    """A trial that has failed is left for the next go of the search, when its reason is mended."""
    taken.trial.set_user_attr("attempts", ATTEMPTS)
    taken.trial.set_user_attr("failed", reason)


def _lock(folder: Path, number: int) -> IO[str] | None:
    """The lock of a trial, held while its file is open; None where another process has it."""
    file = open(folder / "study" / f"trial-{number:03d}.lock", "a")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[None]:
    """One worker at a time asks, so that each sees what the others have."""
    with open(place / ".lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
