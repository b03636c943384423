"""What searches on Optuna share: a journal on disk, silence, a setting in words. No JAX here."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def journal(path: Path) -> Any:
    """Optuna's storage in a file that several processes may write, its directory made."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(path)))


def seconds(path: Path) -> float:
    """How long the trials that a journal knows the end of have taken, over all of its studies."""
    import optuna

    if not path.exists():
        return 0.0
    with quiet():
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        storage = journal(path)
        studies = [optuna.load_study(study_name=n, storage=storage)
                   for n in optuna.get_all_study_names(storage)]  # fmt: skip
        times = [t.duration for study in studies for t in study.get_trials(deepcopy=False)]
    return sum(time.total_seconds() for time in times if time)


def said(values: Mapping[str, Any]) -> str:
    """Values in a line: their settings' last names."""
    shown = {path: f"{v:.3g}" if isinstance(v, float) else str(v) for path, v in values.items()}
    return ", ".join(f"{path.rsplit('.', 1)[-1]} {value}" for path, value in shown.items())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Optuna warns of its own experiments; they are not the user's concern."""
    import optuna

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="optuna")
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        yield
