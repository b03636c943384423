"""Faults, by their rows in docs/faults.md: signals at bad moments, full disks, closed pipes."""

import errno
import io
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies
from rich.console import Console

from lowlabel_jax.configuration import load, resolve
from lowlabel_jax.core import errors, files, log, signals
from lowlabel_jax.core.errors import Interrupted, SaveFailed, UserError
from lowlabel_jax.data import feed, splits
from lowlabel_jax.evaluation import evaluate as evaluation
from lowlabel_jax.runs import directory as rundir
from lowlabel_jax.runs import train as train_module
from lowlabel_jax.runs.export import model_card
from lowlabel_jax.runs.pages import blocks, web
from lowlabel_jax.runs.train import train
from lowlabel_jax.training import checkpoint, record, watch
from lowlabel_jax.training.phases import Progress
from tests.test_interruption import assert_same_ending, launch
from tests.tiny import DIGITS, config

ROOT = Path(__file__).parent.parent
FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The directory of a run that nobody disturbed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "SLURM_JOB_NAME"):
            patch.setenv(name, "s3cret-of-this-test")
        train(config("supervised"), run, command=["python", "launch.py", "--config=x.py"])
    return run


def python(code, *arguments, **more):
    """A process of its own that runs a few lines."""
    env = {**os.environ, "XLA_FLAGS": "", "NPROC": "2", "PYTHONPATH": str(ROOT)}
    env |= more.pop("env", {})
    given = {"env": env, "capture_output": True, "text": True, "timeout": 120, "cwd": ROOT, **more}
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], **given)


# --- 5: SIGTERM where no step is under way --------------------------------------------------------


def test_5_a_signal_during_evaluation_ends_it_there_and_then(whole, tmp_path, monkeypatch):
    """The last step is saved already; the same command scores it."""
    both, sent = evaluation.both, []

    def looking(*given):
        if not sent:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGTERM)
        return both(*given)

    monkeypatch.setattr(evaluation, "both", looking)
    said = "all steps are saved; stopped by SIGTERM. To go on: "
    with pytest.raises(Interrupted, match=said) as stopped:
        train(config("supervised"), tmp_path)
    assert stopped.value.code == 143 and checkpoint.steps(tmp_path) == [8, 12]
    status = rundir.status(tmp_path)
    assert (status["state"], status["step"]) == ("interrupted", 12)
    assert not (tmp_path / "eval").exists()
    train(config("supervised"), tmp_path)
    assert_same_ending(tmp_path, whole)


def test_5_a_signal_that_came_before_the_evaluation_counts():
    stop = signals.StopRequest()
    stop.handle(signal.SIGUSR1, None)
    with pytest.raises(Interrupted, match="stopped by SIGUSR1") as caught, signals.at_once(stop):
        raise AssertionError("it was not to begin")
    assert caught.value.code == 0 and not stop.hurry


COMPILING = """
import hashlib, os, signal, sys, threading
from lowlabel_jax.core import signals
from lowlabel_jax.core.errors import Interrupted

signals.PATIENCE = 0.2
stop = signals.StopRequest()

def leave(number):
    if sys.argv[1] == "saved":
        raise Interrupted("nothing is lost", signals.EXIT_CODES[number])

stop.leave = leave
with signals.stop_request(stop):
    for i, name in enumerate(sys.argv[2:]):
        kill = threading.Timer(0.1 + 0.3 * i, os.kill, (os.getpid(), getattr(signal, name)))
        kill.daemon = True
        kill.start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 4 * 10**6)  # no handler runs in it
print("done", stop.name)
"""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("saved", "SIGTERM"), 143, ("", "nothing is lost\n")),
        (("unsaved", "SIGTERM", "SIGTERM"), 143, ("", "")),
        (("unsaved", "SIGUSR1", "SIGUSR1"), 0, ("done SIGUSR1\n", "")),
        (("saved", "SIGINT"), 0, ("done SIGINT\n", "")),
    ],
)
def test_5_a_compilation_holds_no_signal_up(arguments, code, said):
    """With nothing to save it ends after a while; on a second signal at once; else it goes on."""
    done = python(COMPILING, *arguments)
    assert (done.returncode, (done.stdout, done.stderr)) == (code, said)


def test_5_only_a_run_without_an_unsaved_step_is_left(tmp_path):
    (tmp_path / "command.sh").write_text("python launch.py\n")
    stop, line = signals.StopRequest(), watch.Watch([{"name": "train", "steps": 9}], None)
    line.begin(0, 4)
    with pytest.raises(Interrupted, match="nothing to save after SIGTERM. To go on") as stopped:
        train_module._leave(tmp_path, stop, line, signal.SIGTERM)
    assert stopped.value.code == 143 and rundir.status(tmp_path)["state"] == "interrupted"
    line.step(5)
    train_module._leave(tmp_path, stop, line, signal.SIGTERM)
    line.begin(0, 9)  # the next phase: the last one's end is saved
    with pytest.raises(Interrupted):
        train_module._leave(tmp_path, stop, line, signal.SIGTERM)


# --- 22: a disk that is full ----------------------------------------------------------------------


class Filling(io.FileIO):
    """A file on a disk that is full while `full` says so; before that it takes a byte."""

    full = True

    def write(self, data):
        if Filling.full:
            raise FULL
        return super().write(data[:7])


@pytest.fixture
def filling(monkeypatch):
    """metrics.jsonl lies on a full disk."""
    monkeypatch.setattr(record, "full", set())
    monkeypatch.setattr(record, "open", lambda path, *_, **__: Filling(path, "a"), raising=False)
    monkeypatch.setattr(Filling, "full", True)


def events(run):
    """[(step, loss)] as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run / "tb")).Reload()
    return [(e.step, round(e.value, 3)) for e in found.Scalars("loss")]


def row(step):
    return {"step": step, "phase": "train", "loss": step / 2}


def test_22_rows_wait_for_room_and_nothing_is_lost(tmp_path, filling, capsys):
    with record.recording(tmp_path, 0) as rows:
        for step in (1, 2):
            rows.write(row(step))
        assert not (tmp_path / "metrics.jsonl").read_bytes()
        Filling.full = False
        rows.write(row(3))
    assert record.kept_rows(tmp_path / "metrics.jsonl") == [row(1), row(2), row(3)]
    assert events(tmp_path) == [(1, 0.5), (2, 1.0), (3, 1.5)]
    said = capsys.readouterr().err
    assert said.count("warning: disk full") == 1 and "training goes on" in said


def test_22_a_checkpoint_does_not_count_on_rows_that_are_not_there(tmp_path, filling):
    with record.recording(tmp_path, 0) as rows:
        rows.write(row(1))
        with pytest.raises(SaveFailed, match=r"disk full: \S*metrics.jsonl") as caught:
            rows.sync()
    assert caught.value.code == 1 and "same command again" in caught.value.hint


def test_22_a_board_that_could_not_be_written_is_made_anew(tmp_path, monkeypatch, capsys):
    """By the kernel's own full disk. tensorboardX's thread would block the training for ever."""
    real = record.RecordWriter
    monkeypatch.setattr(record, "full", set())
    monkeypatch.setattr(record, "LIVE", -1)  # each row is flushed
    monkeypatch.setattr(record, "RecordWriter", lambda path: real("/dev/full"))
    with record.recording(tmp_path, 0) as rows:
        for step in range(1, 30):
            rows.write(row(step))
        assert len(record.kept_rows(tmp_path / "metrics.jsonl")) == 29
        monkeypatch.setattr(record, "RecordWriter", real)
        rows.write(row(30))
    assert events(tmp_path) == [(step, step / 2) for step in range(1, 31)]
    assert capsys.readouterr().err.count("warning: disk full") == 1


def test_22_a_run_outlives_a_disk_that_was_full_for_a_while(whole, tmp_path, filling, monkeypatch):
    """Rows and heartbeat fail until step 9; the only checkpoint is the last step's."""
    indices, write_json = feed.indices, files.write_json

    def freed(step, *rest):
        Filling.full = step < 9
        return indices(step, *rest)

    def written(path, value):
        if Filling.full and path.name == "status.json" and value["state"] == "running":
            raise FULL
        write_json(path, value)

    monkeypatch.setattr(feed, "indices", freed)
    monkeypatch.setattr(record.files, "write_json", written)
    train(config("supervised", "--config.checkpoint.every=100"), tmp_path)
    assert (tmp_path / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert rundir.status(tmp_path)["state"] == "finished"


def test_22_elsewhere_a_full_disk_is_an_error_in_two_lines(capsys):
    def fails():
        raise OSError(errno.ENOSPC, "No space left on device", "runs/d1/eval/test.json")

    assert errors.guarded(fails) == 1
    said = capsys.readouterr().err
    assert said == (
        "error: disk full at runs/d1/eval/test.json.\n"
        "hint: free some space and give the same command again.\n"
    )


def test_22_a_file_that_did_not_fit_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(_):
        raise FULL

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_text(tmp_path / "a.txt", "text")
    assert not list(tmp_path.iterdir())


# --- 26, 31: which checkpoints there are ----------------------------------------------------------


class Written:
    """A checkpointer without orbax, for many saves."""

    def save(self, place, args):
        place.mkdir()
        (place / "data").write_text(place.name)


looks = strategies.lists(
    strategies.tuples(strategies.integers(1, 5), strategies.booleans()), max_size=8
)


@hypothesis.given(looks=looks, keep=strategies.integers(1, 4))
@hypothesis.settings(max_examples=30, deadline=None)
def test_26_the_best_and_the_last_are_kept_whatever_comes(tmp_path_factory, looks, keep):
    """looks: (steps to the next save, whether it is the best so far)."""
    run, step, best, saved = tmp_path_factory.mktemp("saves"), 0, None, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "_checkpointer", Written)
        patch.setattr(checkpoint.leaves, "arrays", lambda state: {})
        for steps, improves in looks:
            step += steps
            best = step if improves else best
            checkpoint.save(run, None, Progress(step, best_step=best), keep)
            saved.append(step)
            wanted = sorted({*saved[-keep:], *([best] if best else [])})
            assert checkpoint.steps(run) == wanted
            assert sorted(int(p.stem) for p in (run / "manifests").iterdir()) == wanted
            assert not any(checkpoint.broken(run, kept) for kept in wanted)


KILLED_IN_SAVE = """
import os, runpy, signal, sys, threading
from lowlabel_jax.training import checkpoint

save, after = checkpoint.save, float(sys.argv.pop(1))

def deadly(directory, state, progress, keep):
    if progress.step == 8:
        threading.Timer(after, os.kill, (os.getpid(), signal.SIGKILL)).start()
    save(directory, state, progress, keep)
    while progress.step == 8:
        pass

checkpoint.save = deadly
sys.argv[0] = "launch.py"
runpy.run_path("launch.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """The directory of such a run by a process of its own, which has other threads."""
    run = tmp_path_factory.mktemp("apart") / "run"
    assert launch(run, "supervised").returncode == 0
    return run


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.0, 0.01, 0.03, 0.1, 0.3])
def test_31_killed_during_the_save_itself(after, apart, tmp_path):
    given = ["--config=tests/tiny_config.py:supervised", f"--workdir={tmp_path}"]
    done = python(KILLED_IN_SAVE, after, *given)
    assert done.returncode == -9, done.stderr
    assert checkpoint.newest(tmp_path).step in (4, 8)
    assert launch(tmp_path, "supervised").returncode == 0
    assert not [p for p in tmp_path.rglob("*") if "tmp" in p.name]
    assert_same_ending(tmp_path, apart)


# --- 71, 72, 73: what a run leaves for others -----------------------------------------------------


def phased():
    made = config("fixmatch", "--config.seed=3", "--config.seeds.split=7", align=True)
    with made.unlocked():
        made.phases = {
            "labels": {"objective": {"name": "supervised"}, "length": {"epochs": 4.0}},
            "all": {"optimizer": {"name": "adam"}, "patience": 0},
        }
        made.order = ("labels", "all", "all")
    return load.override(made, {})


def resolved(made):
    split = splits.split_of(DIGITS, made.split.to_dict(), resolve.seeds(made)["split"])
    return resolve.resolve(made, splits.info_of(DIGITS, split), DIGITS.fingerprint)


@pytest.mark.parametrize("made", [config("mean_teacher"), phased()], ids=["one phase", "three"])
def test_71_a_kept_config_resolves_to_itself(made, tmp_path):
    kept = resolved(made)
    files.write_json(tmp_path / "config.json", kept)
    again = load.load(str(tmp_path / "config.json"))
    assert resolve.difference(kept, resolved(again)) == {}
    other = load.load(str(tmp_path / "config.json"), ["--config.seed=5"])
    own = {name: s for name, s in kept["seeds"].items() if s != kept["seed"]}
    assert resolve.seeds(other) == {"split": 5, "order": 5, "init": 5, "augment": 5, **own}


def test_71_what_was_learnt_is_not_learnt_again(tmp_path):
    kept = {**resolved(config()), "tuned": {"policy": "brave-robin-0001"}}
    kept["tune"] = {**kept["tune"], "budget": "laptop"}
    files.write_json(tmp_path / "config.json", kept)
    assert load.load(str(tmp_path / "config.json")).tune.budget == "off"


def test_71_a_run_is_repeated_from_its_config_json(whole, tmp_path):
    train(load.load(str(whole / "config.json")), tmp_path)
    assert_same_ending(tmp_path, whole)


def test_71_what_is_no_config_is_said(tmp_path):
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(UserError, match="is no config"):
        load.load(str(tmp_path / "list.json"))


def test_72_the_environment_of_a_run_is_an_allowed_list(whole):
    """What is added to it is added here, by someone who asks whether it may be shown to all."""
    assert set(files.read_json(whole / "environment.json")) <= {
        *("lowlabel_jax", "python", "platform", "commit", "dirty", "XLA_FLAGS", *rundir.PACKAGES),
        *("device_kind", "device_count", "processes", "cpu_threads", "deterministic"),
    }


def test_72_no_variable_of_the_environment_is_in_a_run(whole):
    there = [path for path in whole.rglob("*") if path.is_file()]
    assert len(there) > 10 and not [path for path in there if b"s3cret" in path.read_bytes()]


def test_72_pages_for_others_name_no_home(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ada"))
    told = "python launch.py --workdir=/home/ada/runs/d1 --config=/home/adam/x /data/home/ada/y"
    wanted = "python launch.py --workdir=~/runs/d1 --config=/home/adam/x /data/home/ada/y"
    assert web.safe(told) == wanted
    pages = blocks.markdown([blocks.Code(told), blocks.Text("/home/ada")], Path())
    assert wanted in pages and "/home/ada\n" not in pages
    monkeypatch.setattr(Path, "home", lambda: Path("/"))  # as in some containers
    assert web.safe(told) == told


def test_72_a_model_card_names_no_home(whole, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: whole.parent)
    kept = files.read_json(whole / "config.json")
    kept["source"]["path"] = str(whole.parent / "photos")
    card = model_card.card(
        whole, kept, {"step": 12, "jax": "0", "task": "labels", "input": {"shape": [None, 8, 8, 1]}}
    )
    assert '"~/photos"' in card and str(whole.parent) not in card


def test_73_a_path_is_no_formula_of_a_spreadsheet():
    for start in "=+-@\t\r":
        assert files.without_formula(f"{start}cmd|x.png") == f"./{start}cmd|x.png"
    assert files.without_formula("cat/1.png") == "cat/1.png"


# --- 75: rows on the disk -------------------------------------------------------------------------

DYING = """
import os, signal, sys
from pathlib import Path
from lowlabel_jax.training import record

with record.recording(Path(sys.argv[1]), 0) as rows:
    for step in (1, 2, 3):
        rows.write({"step": step, "phase": "train", "loss": step / 2})
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_75_rows_are_on_the_disk_and_tensorboard_follows_them(tmp_path):
    assert python(DYING, tmp_path).returncode == -9
    assert record.kept_rows(tmp_path / "metrics.jsonl") == [row(1), row(2), row(3)]
    with record.recording(tmp_path, 2):  # as from a checkpoint of step 2
        pass
    assert record.kept_rows(tmp_path / "metrics.jsonl") == [row(1), row(2)]
    assert events(tmp_path) == [(1, 0.5), (2, 1.0)]


# --- 76: where the words go -----------------------------------------------------------------------


def test_76_a_training_goes_on_without_its_reader(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        monkeypatch.setattr(log, "lasting", [])
        with pytest.raises(BrokenPipeError):
            log.say("a list")
        log.outlast()
        log.say("a training")
        log.say("goes on")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr(sys, "stderr", closed)
        monkeypatch.setattr(log, "lasting", [])
        log.warn("nobody hears it")
        log.warn("nor this")


@pytest.mark.slow
def test_76_head_ends_no_training(tmp_path):
    told = f"{sys.executable} launch.py --config=tests/tiny_config.py --workdir={tmp_path} 2>&1"
    env = {**os.environ, "XLA_FLAGS": "", "NPROC": "2"}
    script = f"set -o pipefail; {told} | head -1"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "Compiling" in done.stdout and not done.stderr
    assert rundir.status(tmp_path)["state"] == "finished"


@pytest.mark.parametrize("door", [["launch.py"], ["-m", "lowlabel_jax", "student"]])
def test_76_help_in_a_terminal_that_knows_ascii_alone(door):
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONPATH": str(ROOT)}
    given = {"cwd": ROOT, "env": env, "capture_output": True, "timeout": 60}
    done = subprocess.run([sys.executable, *door, "--help"], **given)
    assert done.returncode == 0 and done.stdout.isascii() and b"\\u2026" in done.stdout


def test_76_names_in_a_terminal_that_knows_ascii_alone(monkeypatch):
    screen = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(screen, "ascii"))
    log.take_any_text()
    log.say("naïve 雪 …")
    assert screen.getvalue() == b"na\\xefve \\u96ea \\u2026\n"


@pytest.mark.parametrize(("term", "bars"), [("dumb", False), ("xterm", True)])
def test_76_a_dumb_terminal_gets_plain_lines(term, bars, monkeypatch):
    screen = io.StringIO()
    given = {"file": screen, "force_terminal": True, "_environ": {"TERM": term, "NO_COLOR": "1"}}
    monkeypatch.setattr(watch, "Console", lambda: Console(**given))
    with watch.watching([{"name": "train", "steps": 9}]) as line:
        line.begin(0, 0)
        assert bool(line.bar) == bars
    assert ("\r" in screen.getvalue() or "\x1b[" in screen.getvalue()) == bars
    assert not re.search(r"\x1b\[[0-9;]*3\dm", screen.getvalue()), "no colour was asked for"


# --- 78: what is depended on ----------------------------------------------------------------------


def test_78_every_library_has_a_lower_bound():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [n for n in project["dependencies"] if not n.startswith("importlib_resources")]
    extras = [n for name, of in project["optional-dependencies"].items() for n in of
              if not name.startswith("cuda")]  # fmt: skip
    libraries = [n for n in needed + extras if not n.startswith("lowlabel_jax[")]
    assert not [n for n in libraries if ">=" not in n]


def test_78_the_suite_says_what_it_ran_on(request):
    header = str(request.config.hook.pytest_report_header(
        config=request.config, start_path=ROOT, startdir=None))  # fmt: skip
    assert re.search(r"jax \d+\.\d+\.\d+, jaxlib \d+\.\d+\.\d+, flax ", header)


# --- docs/faults.md -------------------------------------------------------------------------------

LINE = re.compile(r"^\| (\d+) ([MSC]) \| (.+?) \| (.+?) \| (.+) \|$", re.MULTILINE)


def test_the_table_has_every_row_and_names_tests_that_there_are():
    table = LINE.findall((ROOT / "docs" / "faults.md").read_text(encoding="utf-8"))
    assert [int(number) for number, *_ in table] == list(range(1, 79))
    for number, _, _, _, named in table:
        found = re.findall(r"`(test_\w+\.py)::(test_\w+)`", named)
        assert found or named.startswith("none: "), number
        for file, test in found:
            text = (ROOT / "tests" / file).read_text(encoding="utf-8")
            assert f"def {test}(" in text, f"row {number}: {file}::{test}"
