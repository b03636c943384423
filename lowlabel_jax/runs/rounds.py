"""`lowlabel student`: noisy student in rounds, arXiv:1911.04252, algorithm 1, step 4.

DIR/round0 is a run of the config as it is. DIR/round1 is one of the config's student form, taught
by round0's guesses; round2 is taught by round1; each from scratch. Repeating the command goes on
where it stopped. No JAX before every round's config is checked.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowlabel_jax.configuration import check, keys, load, resolve
from lowlabel_jax.core import files, log
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs import listing
from lowlabel_jax.runs.sweep.plan import as_arguments

OWN = ("teacher", "student")  # --teacher.x.y=VALUE is of round 0 alone, --student.x.y of the others
FRESH = 1000  # the seeds of a round lie so far from those of the round before
Rounds = dict[str, keys.Config]  # "round0" -> its config


def student(config: str, overrides: Sequence[str], folder: Path, count: int) -> int:
    """Train the teacher and `count` students in turn, then show what came out; 0.

    Raises UserError for what the user can mend, before any work where that can be seen, Busy,
    Diverged and Interrupted as one run does.
    """
    made = plan(config, overrides, folder, count)
    rundir.usable(folder)
    if rundir.holds_run(folder):
        raise UserError(f"{folder} holds a single run.", "give another --workdir to the rounds.")
    from lowlabel_jax import start

    start.jax_ready()
    from lowlabel_jax.runs.train import train

    with files.locked(folder):
        check_lengths(made, folder)
        for number, (name, of) in enumerate(made.items()):
            log.say(f"\n{name}: {'the teacher' if not number else f'student {number} of {count}'}")
            train(of, folder / name, command=["lowlabel", *sys.argv[1:]])
        found = outcome(folder, list(made))
        files.write_json(folder / "rounds.json", found)
    log.say(f"\n{page(found)}\nrounds: {folder}  (rounds.json; a run in each round's folder)")
    log.say("next: " + log.typed(f"lowlabel evaluate {folder / list(made)[-1]}"))
    return 0


def plan(file: str, overrides: Sequence[str], folder: Path, count: int) -> Rounds:
    """The configs of all rounds, each checked.

    A student's is the config with `STUDENT` of its file (dotted paths -> values), and the objective
    noisy_student unless that says otherwise. Its weights, order and noise have seeds of their own;
    which images are labelled has not. Raises UserError with what is wrong.
    """
    if count < 1:
        raise UserError(f"--rounds {count} has no student.", "--rounds 3 trains three in turn.")
    file = listing.config_path(file)
    module = load.read_module(file.partition(":")[0])
    form = {"objective.name": "noisy_student", **getattr(module, "STUDENT", {})}
    made = {"round0": load.load(file, given(overrides, "teacher"))}
    for number in range(1, count + 1):
        taught = {**form, "teacher": folder / f"round{number - 1}"}
        arguments = [*as_arguments(taught), *given(overrides, "student")]
        made[f"round{number}"] = _fresh(load.load(file, arguments), number)
    for number, config in enumerate(made.values()):
        config.method = f"{config.method} round {number}".strip()
        check.check(config)
        if number and not any(one["name"] == "noisy_student" for one in objectives(config)):
            raise UserError(
                "no phase of the students has the objective noisy_student: a teacher would be "
                "for nothing.",
                "--teacher.objective.name=fixmatch changes the teacher alone.",
            )
    return made


def given(overrides: Sequence[str], who: str) -> list[str]:
    """The overrides that are meant for the teacher or the students: --config.… are for both."""
    found = []
    for text in overrides:
        prefix = next((p for p in OWN if text.startswith(f"--{p}.")), "")
        if prefix in ("", who):
            found.append(load.PREFIX + text.removeprefix(f"--{prefix}.") if prefix else text)
    return found


def objectives(config: keys.Config) -> list[Mapping[str, Any]]:
    """What each phase of a config minimises."""
    phases = [config.phases[name] for name in config.order] or [{}]
    return [phase.get("objective", config.objective) for phase in phases]


def _fresh(config: keys.Config, number: int) -> keys.Config:
    """The config with other first weights, order and noise, and the same labelled images."""
    for name, seed in resolve.seeds(config).items():
        config.seeds[name] = seed if name == "split" else seed + FRESH * number
    return config


def check_lengths(made: Rounds, folder: Path) -> None:
    """Raise UserError where a round that has taught the next one is now to be of another length.

    A run may go on for more steps, but its student has learnt what it guessed at its old end.
    """
    from lowlabel_jax.training import build

    names = list(made)
    for name, after in zip(names, names[1:], strict=False):
        if not rundir.holds_run(folder / after):
            return
        kept = files.read_json(folder / name / "config.json")
        now = resolve.resolve(made[name], build.info(kept), kept["data_fingerprint"])
        old, new = ([spec["steps"] for spec in c["phases"]] for c in (kept, now))
        if old != new:
            raise UserError(
                f"{folder / name} has taught {after} already, and is now to have {sum(new)} steps "
                f"instead of {sum(old)}.",
                "give another --workdir.",
            )


def outcome(folder: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """For each round its accuracies and, of a student, what its teacher's guesses were worth."""
    from lowlabel_jax.data import splits
    from lowlabel_jax.data.opened import open_data
    from lowlabel_jax.runs import evaluate

    source = open_data(files.read_json(folder / names[0] / "config.json"))
    split = splits.read(evaluate.kept_split(folder / names[0]), source)
    truth = source.labels["train"][split.unlabelled].copy()
    truth[np.isin(split.unlabelled, split.labelled)] = -1  # those were told, not guessed
    rows = []
    for name in names:
        config = files.read_json(folder / name / "config.json")
        row = {"round": name, "accuracy": rundir.status(folder / name).get("accuracy", {})}
        rows.append(row | _taught(folder / name, config, truth))
    return rows


def _taught(run: Path, config: Mapping[str, Any], truth: np.ndarray) -> dict[str, Any]:
    """How many guesses its teacher made, above the threshold, and right where truth [n] >= 0."""
    from lowlabel_jax.runs import teacher

    if not config["teacher"]:
        return {}
    with np.load(run / teacher.KEPT, allow_pickle=False) as kept:
        p = kept["teacher"]
    specs = [spec["objective"] for spec in config["phases"]]
    least = next(spec["threshold"] for spec in specs if spec["name"] == "noisy_student")
    sure, known = p.max(1) >= least, truth >= 0
    right = (p.argmax(1) == truth) & known
    return {
        "guesses": len(p),
        "kept": int(sure.sum()),
        "known": int(known.sum()),
        "right": int(right.sum()),
        "kept_known": int((sure & known).sum()),
        "kept_right": int((sure & right).sum()),
    }


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rounds as a table; "-" for what there is not, or what is not known."""
    sets = [name for name in ("validation", "test") if name in rows[0]["accuracy"]]
    head = [*sets, "teacher right", "kept", "right of these"]
    lines = [f"{'round':<8}" + "".join(f"{name:>16}" for name in head)]
    for row in rows:
        shares = [("right", "known"), ("kept", "guesses"), ("kept_right", "kept_known")]
        cells = [f"{row['accuracy'][name]:.4f}" for name in sets]
        cells += [f"{row[a] / row[b]:.4f}" if row.get(b) else "-" for a, b in shares]
        lines.append(f"{row['round']:<8}" + "".join(f"{cell:>16}" for cell in cells))
    return "\n".join(lines)
