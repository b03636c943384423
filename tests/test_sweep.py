"""Sweeps: grids and names, which run comes next, workers that die, what is shown, what is left."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from lowlabel_jax.configuration import load
from lowlabel_jax.core import files
from lowlabel_jax.core.errors import Interrupted, UserError
from lowlabel_jax.runs.auto import baselines
from lowlabel_jax.runs.sweep import grid, plan, share, state, sweep, table, todo, worker, workers

ROOT = Path(__file__).parent.parent
TINY = str(ROOT / "tests" / "tiny_config.py")
# A worker without JAX: --config.do says what becomes of a run, and FILE seen who has had it.
FAKE = """
import json, os, sys, time
from pathlib import Path

for line in sys.stdin:
    command = json.loads(line)
    (run,) = (Path(word[10:]) for word in command if word.startswith("--workdir="))
    do = command[-1].partition("=")[2]
    with open(run / "seen", "a") as out:
        out.write(f"{os.getpid()}\\n")
    if do == "die" or (do == "die once" and len((run / "seen").read_text().split()) == 1):
        os.kill(os.getpid(), 9)
    if do == "wait":
        sys.stdin.read()
        (run / "asked").touch()
        sys.exit(0)
    code = {"fail": 2, "diverge": 4, "bug": 1}.get(do, 0)
    if not code:
        (run / "status.json").write_text('{"state": "finished", "step": 1}')
    print(code, flush=True)
    if code == 1:
        time.sleep(0.3)
        break
"""


def commands(folder, **do):
    """{name: a command for FAKE} of {name: what becomes of it}."""
    return {k: plan.command(TINY, folder / k, [f"--config.do={v}"]) for k, v in do.items()}


@pytest.fixture
def fake(tmp_path):
    """train_all(**{name: what becomes of it}) with workers that import no JAX."""
    (tmp_path / "fake.py").write_text(FAKE)
    program = (sys.executable, str(tmp_path / "fake.py"))

    def train_all(count=2, max_seconds=0, **do):
        given = commands(tmp_path, **do)
        return workers.train_all(given, tmp_path, count, max_seconds, program)

    return train_all


def seen(run):
    """Which processes have had a run, in turn."""
    return (run / "seen").read_text().split()


# --- what runs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("seed=0:3", {"seed": ["0", "1", "2"]}),
        ("seed=4:0:-2,7", {"seed": ["4", "2", "7"]}),
        (
            "a.b=0.8,0.95; seed=1 ",
            {"a.b": ["0.8", "0.95"], "seed": ["1"]},
        ),
        ("pool=(True,False),(1,[2,3])", {"pool": ["(True,False)", "(1,[2,3])"]}),
        ("--config.name='a,b;c',x", {"name": ["'a,b;c'", "x"]}),
        ("when=12:30pm", {"when": ["12:30pm"]}),
    ],
)
def test_a_grid_is_read(text, found):
    assert grid.read(text) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed", "'seed' is not SETTING=VALUE"),
        ("=3", "is not SETTING=VALUE"),
        ("seed=", "a value of seed is empty"),
        ("seed=1,,2", "a value of seed is empty"),
        ("seed=3:3", "holds no number"),
        ("seed=0:3:0", "holds no number"),
        ("seed=0:2,1", "has a value twice"),
        ("seed=1;seed=2", "names seed twice"),
        ("pool=(1,2", "do not close"),
    ],
)
def test_a_wrong_grid_says_what_to_type(text, said):
    with pytest.raises(UserError, match=said.replace("(", r"\(")) as error:
        grid.read(text)
    assert error.value.hint


def test_a_grid_is_every_combination_the_last_setting_fastest():
    found = grid.choices("a=1,2;seed=0:2")
    assert [(c["a"], c["seed"]) for c in found] == [("1", "0"), ("1", "1"), ("2", "0"), ("2", "1")]


def test_a_grid_alone_names_its_runs_and_labels_what_is_no_seed():
    jobs = plan.plan(
        TINY, ["--config.log_every=3"], "model.pool=(True,True),(True,False);seed=0:2", False
    )
    assert list(jobs) == [
        "pool=True+True-seed0",
        "pool=True+True-seed1",
        "pool=True+False-seed0",
        "pool=True+False-seed1",
    ]
    assert jobs["pool=True+False-seed1"].overrides == [
        "--config.model.pool=(True,False)",
        "--config.seed=1",
        "--config.method=pool=True+False",
        "--config.log_every=3",
    ]
    of_seeds = plan.plan(TINY, [], "seed=0:2", False)
    assert of_seeds["seed1"].overrides == ["--config.seed=1"] and len(of_seeds) == 2
    named = plan.plan(
        TINY, [], "objective.name=supervised,fixmatch;split.folds=2;split.fold=0:2", False
    )
    assert "--config.method=supervised folds=2" in named["supervised_folds=2-fold=0"].overrides
    assert len(named) == 4  # folds are parts of one method: they are in the name, not in the label


def test_a_grid_joins_a_configs_own_sweep():
    jobs = plan.plan(TINY, [], "batch.mu=2,3;seed=5:7")
    assert len(jobs) == 8  # two methods, two mu, two seeds in the place of the config's own
    assert jobs["fixmatch_mu=3-seed6"].overrides == [
        "--config.objective.name=fixmatch",
        "--config.seed=6",
        "--config.batch.mu=3",
        "--config.method=fixmatch mu=3",
    ]


@pytest.mark.parametrize(
    ("given", "overrides", "said"),
    [
        ("sed=0:2", [], "unknown setting 'sed'. Did you mean 'seed'"),
        ("batch.mu=2,two", [], "batch.mu = 'two' does not fit"),
        ("batch.mu=2,0", [], "batch.mu = 0 must be"),
        ("seed=0:2", ["--config.seed=3"], "--grid varies seed, and --config.seed=3 sets it"),
    ],
)
def test_a_mistake_in_a_grid_is_found_before_anything_runs(given, overrides, said, tmp_path):
    with pytest.raises(UserError, match=said):
        sweep.sweep(TINY, overrides, tmp_path / "s", None, grid=given, listed=False)
    assert not (tmp_path / "s").exists()


def test_a_dry_run_lists_the_runs_as_they_can_be_typed(tmp_path, capsys):
    assert not sweep.dry_run(TINY, [], grid="batch.mu=2,3;seed=0", listed=True)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 5 and said[-1] == "4 runs; nothing was trained."
    assert said[0].startswith("supervised_mu=2-seed0  --config.objective.name=supervised ")
    assert "'--config.method=supervised mu=2'" in said[0]


# --- what of the machine each worker has ----------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "number", "visible", "fraction"),
    [
        (1, 0, None, None),
        (2, 0, "3,5", None),
        (2, 1, "7,9", None),
        (4, 2, "7", None),
        (8, 6, "7", "0.45"),
    ],
)
def test_gpus_are_divided_among_workers(count, number, visible, fraction, monkeypatch):
    monkeypatch.setattr(share, "gpus", lambda: ["3", "5", "7", "9"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    found = share.share(count, number)
    assert found.get("CUDA_VISIBLE_DEVICES") == visible
    assert found.get("XLA_PYTHON_CLIENT_MEM_FRACTION") == fraction
    assert share.default_workers() == 4 and share.default_workers(2) == 2


def test_cores_are_divided_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(share, "gpus", list)
    monkeypatch.setattr(share.os, "sched_getaffinity", lambda _: range(12))
    monkeypatch.setattr(share.os, "environ", {"PATH": "x"})
    assert share.share(3, 1) == {"PATH": "x", "NPROC": "4"} and share.share(1) == {"PATH": "x"}
    monkeypatch.setattr(share.os, "environ", {"NPROC": "7"})
    assert share.share(3) == {"NPROC": "7"} and share.default_workers() == 1


def test_gpus_are_those_that_cuda_would_see():
    printed = (
        "GPU 0: A (UUID: GPU-1)\n  MIG 1g.5gb Device 0: (UUID: MIG-2)\nGPU 1: B (UUID: GPU-3)\n"
    )
    assert share.listed({}, printed) == ["0", "1"] and share.listed({}, "") == []
    for text, names in {
        "2, 5": ["2", "5"],
        "": [],
        "-1": [],
        "0,-1,3": ["0"],
        "GPU-1": ["GPU-1"],
    }.items():
        assert share.listed({"CUDA_VISIBLE_DEVICES": text}, printed) == names, text


def test_no_gpu_is_used_where_jax_is_told_so(monkeypatch):
    monkeypatch.setattr(share, "_has_cuda_plugin", lambda: True)
    monkeypatch.setattr(share, "_nvidia_smi", lambda: "GPU 0: A\n")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
    assert share.gpus() == ["0"]
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert share.gpus() == []


def test_a_sweep_imports_no_jax():
    code = (
        "import sys; from lowlabel_jax.runs.sweep import share, sweep, worker, workers; "
        "share.share(2); assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# --- which run comes next -------------------------------------------------------------------------


def test_a_run_that_another_process_trains_is_passed_over(tmp_path):
    left = todo.Todo(commands(tmp_path, a="ok", b="ok"), tmp_path)
    (tmp_path / "a").mkdir()
    with files.locked(tmp_path / "a"):
        assert left.take() == "b" and left.take() is None and left
    assert left.take() == "a"
    assert not left.over("a", 3) and left.waiting == ["a"] and not left.tries


def test_a_teacher_comes_before_its_student(tmp_path):
    given = commands(tmp_path, student="ok", teacher1="ok", teacher10="ok")
    given["student"].append(f"--config.teacher={tmp_path / 'teacher10'}")
    left = todo.Todo(given, tmp_path)
    assert [left.take(), left.take(), left.take()] == ["teacher1", "teacher10", None]
    left.over("teacher1", 2)
    assert left.take() is None
    left.over("teacher10", 2)  # a student whose teacher failed says so itself
    assert left.take() == "student"


def test_a_killed_run_is_taken_up_three_times_and_a_failed_one_never(tmp_path):
    left = todo.Todo(commands(tmp_path, a="ok", b="ok"), tmp_path)
    for attempt in (1, 2, 3):
        assert left.take() == "a", attempt
        assert left.over("a", -9) == (attempt == 3)
    assert left.take() == "b" and left.over("b", 4)
    assert left.codes == {"a": 137, "b": 4} and not left


@pytest.mark.parametrize("code", [0, 130, 143])
def test_a_run_that_somebody_stopped_goes_on(tmp_path, code):
    left = todo.Todo(commands(tmp_path, a="ok"), tmp_path)
    left.take()
    assert not left.over("a", code) and left.take() == "a"
    files.write_json(tmp_path / "a" / "status.json", {"state": "finished", "step": 1})
    assert left.over("a", 0) and left.codes == {"a": 0}


# --- workers --------------------------------------------------------------------------------------


def test_two_workers_share_the_runs_and_none_is_trained_twice(fake, tmp_path, capsys):
    names = {f"run{i}": "ok" for i in range(6)}
    assert fake(**names) == dict.fromkeys(names, 0)
    had = [seen(tmp_path / name) for name in names]
    assert all(len(one) == 1 for one in had) and len({one[0] for one in had}) == 2
    assert "  run3: begins\n" in capsys.readouterr().out


def test_failing_runs_stop_no_other_and_are_not_repeated(fake, tmp_path, capsys):
    codes = fake(1, a="fail", b="diverge", c="bug", d="ok")
    assert codes == {"a": 2, "b": 4, "c": 1, "d": 0}
    had = [seen(tmp_path / name) for name in "abcd"]
    assert [len(one) for one in had] == [1, 1, 1, 1]
    assert had[0] == had[1] == had[2] != had[3]  # what a bug has left is trusted by nobody
    said = capsys.readouterr().out
    assert "a: failed (exit code 2)" in said and "try 2" not in said


def test_a_run_whose_worker_is_killed_is_taken_up_again(fake, tmp_path, capsys):
    assert fake(a="die once", b="die", c="ok") == {"a": 0, "b": 137, "c": 0}
    assert [len(set(seen(tmp_path / name))) for name in "abc"] == [2, 3, 1]
    said = capsys.readouterr().out
    assert "a: its process was killed by signal 9; it goes on, try 2 of 3" in said
    assert "b: failed (exit code 137)" in said


def test_a_worker_that_is_killed_between_two_runs_is_replaced(fake, tmp_path, monkeypatch, capsys):
    begin = workers.Worker.begin

    def after_a_kill(self, name, *more):
        if self.process:
            os.kill(self.process.pid, signal.SIGKILL)
            time.sleep(0.2)
        begin(self, name, *more)

    monkeypatch.setattr(workers.Worker, "begin", after_a_kill)
    assert fake(1, a="ok", b="ok") == {"a": 0, "b": 0}
    assert len(seen(tmp_path / "b")) == 1 and seen(tmp_path / "a") != seen(tmp_path / "b")
    assert "try 2" not in capsys.readouterr().out  # no run was under way


def alive(pid):
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(true, seconds=20):
    """Wait until something is true, and give it."""
    end = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.05)
    assert found
    return found


def test_when_the_time_is_over_the_workers_are_asked_to_go(fake, tmp_path):
    with pytest.raises(Interrupted, match="1.5 seconds: 2 of 2 runs are left") as stopped:
        fake(max_seconds=1.5, a="wait", b="wait")
    assert stopped.value.code == 0
    assert not any(alive(pid) for name in "ab" for pid in seen(tmp_path / name))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_no_worker_outlives_its_sweep(fake, tmp_path, name):
    """A terminal's Ctrl-C is for the sweep alone; even where that can do nothing, stdin ends."""
    code = (
        "import json, sys; from pathlib import Path; from lowlabel_jax.runs.sweep import workers\n"
        "from lowlabel_jax.core.errors import guarded\n"
        "given, folder, program = json.loads(sys.argv[1])\n"
        "sys.exit(guarded(lambda: workers.train_all(given, Path(folder), 2, 0, program)))"
    )
    given = commands(tmp_path, a="wait", b="wait")
    asked = json.dumps([given, str(tmp_path), [sys.executable, str(tmp_path / "fake.py")]])
    command = [sys.executable, "-c", code, asked]
    given = {"cwd": ROOT, "stderr": subprocess.PIPE, "start_new_session": True}
    parent = subprocess.Popen(command, **given)
    places = [tmp_path / run / "seen" for run in "ab"]
    until(lambda: all(place.exists() and place.read_text().endswith("\n") for place in places))
    pids = [pid for run in "ab" for pid in seen(tmp_path / run)]
    assert all(alive(pid) for pid in pids)
    os.killpg(parent.pid, getattr(signal, name))
    said = parent.communicate(timeout=30)[1].decode()
    until(lambda: not any(alive(pid) for pid in pids))
    assert (tmp_path / "a" / "asked").exists() and (tmp_path / "b" / "asked").exists()
    code = {"SIGINT": 130, "SIGTERM": 143, "SIGKILL": -9}[name]
    assert parent.returncode == code and (name == "SIGKILL" or f"after {name}" in said)


# --- one worker -----------------------------------------------------------------------------------


FEW = ["--config.split.labelled.per_class=9999"]  # more than there are


def test_a_worker_tells_what_a_run_got_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(worker, "_say_in", lambda log: log.parent.mkdir(exist_ok=True))
    assert worker.one(plan.command(TINY, tmp_path / "run", FEW)) == 2
    assert "9999" in capsys.readouterr().err


@pytest.mark.slow
def test_a_worker_leaves_nothing_of_one_run_in_the_next(tmp_path, monkeypatch):
    """Broken runs and other methods before it change no byte of a run."""
    monkeypatch.setattr(worker, "_say_in", lambda log: log.parent.mkdir(exist_ok=True))
    fix = ["--config.length.steps=6"]
    codes = [
        worker.one(plan.command(file, tmp_path / name, given))
        for name, file, given in [
            ("first", f"{TINY}:fixmatch", fix),
            ("broken", TINY, FEW),
            ("other", f"{TINY}:mixmatch", [*fix, "--config.seed=4"]),
            ("again", f"{TINY}:fixmatch", fix),
        ]
    ]
    assert codes == [0, 2, 0, 0]
    for file in ("metrics.jsonl", "eval/test.json", "config.json"):
        same = [(tmp_path / name / file).read_bytes() for name in ("first", "again", "other")]
        assert same[0] == same[1] != same[2], file
    kept = (tmp_path / "first" / "command.sh").read_text()
    assert kept.endswith(f"--workdir={tmp_path / 'first'} --config.length.steps=6\n")


def test_a_bug_is_told_with_its_traceback(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(worker, "_say_in", lambda log: None)
    monkeypatch.setattr(worker, "train", lambda command: 1 / 0)
    assert worker.one(plan.command(TINY, tmp_path, [])) == worker.BUG == workers.BUG
    assert "ZeroDivisionError" in capsys.readouterr().err


# --- the whole line -------------------------------------------------------------------------------


def finish(given, folder):
    """A `how` of sweep: every run finishes in a moment, but those of seed 1, which fail."""
    for name in given:
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "train.log").write_text("error: too few\nhint: take more\n")
        if "seed1" not in name:
            files.write_json(folder / name / "status.json", {"state": "finished", "step": 1})
    return {name: 2 * ("seed1" in name) for name in given}


def test_what_finished_is_left_and_what_failed_is_named_with_its_reason(tmp_path, monkeypatch):
    compared, asked = [], []
    monkeypatch.setattr(sweep, "compare_and_say", lambda runs, *_: compared.append(len(runs)))

    def how(given, folder):
        asked.append(sorted(given))
        return finish(given, folder)

    def again(*overrides):
        with pytest.raises(UserError) as said:
            sweep.sweep(TINY, overrides, tmp_path, how, grid="seed=0:3", listed=False)
        return str(said.value)

    assert "run seed1 did not finish: exit code 2, too few (see " in again()
    assert str(tmp_path / "seed1" / "train.log") in again()
    assert asked == [["seed0", "seed1", "seed2"], ["seed1"]] and compared == [2, 2]
    (tmp_path / "seed2" / "status.json").unlink()
    again()
    assert asked[-1] == ["seed1", "seed2"]
    again("--config.batch.mu=2")  # another config: each directory says what differs
    assert asked[-1] == ["seed0", "seed1", "seed2"]
    assert list(files.read_json(tmp_path / "sweep.json")["runs"]) == ["seed0", "seed1", "seed2"]


def test_auto_has_its_comparison_trained_by_the_workers(tmp_path, monkeypatch, capsys):
    """Its own first seed is the run itself; what is finished is left; what fails is said."""
    learnt = load.load(TINY, ["--config.tune.seeds=2", "--config.tune.budget=smoke"])
    files.write_json(tmp_path / "status.json", {"state": "finished", "step": 12})
    monkeypatch.setattr(
        baselines, "methods", lambda *_: {"untuned": load.load(TINY), "auto": learnt}
    )
    monkeypatch.setattr(baselines.comparison, "compare", lambda runs: [run.name for run in runs])
    monkeypatch.setattr(baselines.comparison, "write", lambda *given: written.append(given))
    asked, written = [], []

    def train_all(given, folder, *how):
        asked.append((given, how))
        return finish(given, folder)

    monkeypatch.setattr(baselines.workers, "train_all", train_all)
    for _ in range(2):
        baselines.compare(learnt, learnt, tmp_path, max_seconds=9.0)
    (first, how), (second, _) = asked
    assert list(first) == ["auto-seed1", "untuned-seed0", "untuned-seed1"] and how == (2, 9.0)
    folder = tmp_path / "comparison"
    assert first["untuned-seed1"][2:] == [
        f"--config={folder / 'untuned.json'}",
        f"--workdir={folder / 'untuned-seed1'}",
        "--config.seed=1",
        "--config.method=untuned",
    ]
    assert list(second) == ["auto-seed1", "untuned-seed1"]
    assert "a run of the comparison failed" in capsys.readouterr().err
    assert written == [([tmp_path.name, "untuned-seed0"], folder)] * 2


def test_why_a_run_did_not_finish(tmp_path):
    def why(text, code):
        (tmp_path / "train.log").write_text(text)
        return state.why(tmp_path, code).partition(" (see")[0]

    assert why("error: a\nerror: b\nhint: c\n", 2) == "exit code 2, b"
    assert why("error: a\nTraceback\nValueError: d\n\n", 1) == "exit code 1, ValueError: d"
    assert "memory" in why("step 3\n", 137)
    assert state.why(tmp_path / "none", 2).startswith("exit code 2 (see")


# --- what is shown --------------------------------------------------------------------------------


def test_the_table_says_how_every_run_stands(tmp_path):
    left = todo.Todo(commands(tmp_path, done="ok", bad="ok", on="ok", off="ok"), tmp_path)
    for name in ("done", "bad", "on"):
        (tmp_path / name).mkdir()
        assert left.take() == name
    finished = {"state": "finished", "step": 40, "accuracy": {"test": 0.9}}
    files.write_json(tmp_path / "done" / "status.json", finished)
    left.over("done", 0)
    left.over("bad", 2)
    watch = table.Watch(left)
    assert watch.row("on").state == "beginning"
    status = {"state": "running", "step": 25, "total": 45, "rate": 10.0}
    files.write_json(tmp_path / "on" / "status.json", status)
    on = watch.row("on")
    rows = [json.dumps({"step": i, "validation/accuracy": i / 10}) for i in range(8)]
    (tmp_path / "on" / "metrics.jsonl").write_text("\n".join(rows) + '\n{"step": 9, "validat')
    assert on == table.Row("on", "running", 25, 45, 10.0, "")
    assert table.validation(tmp_path / "on") == "validation accuracy 0.7000"
    assert watch.row("off").state == "waiting"
    out = io.StringIO()
    shown = [watch.row("done"), watch.row("bad"), on]
    Console(file=out, width=120).print(table.drawing(shown, 20))
    text = out.getvalue()
    assert "test accuracy 0.9000" in text and "failed (exit code 2)" in text
    assert "25/45" in text and "10 steps/s, 2.0 s left" in text


def test_a_small_terminal_shows_what_has_news():
    rows = [table.Row(f"r{i}", "finished", 1, 1, 0.0, "") for i in range(30)]
    rows[20] = rows[20]._replace(state="running")
    rows[25] = rows[25]._replace(state="failed (exit code 2)")
    shown, others = table.fitting(rows, 8)
    assert [row.name for row in shown] == ["r0", "r1", "r20", "r25"]
    assert others == "and 26 finished" and table.fitting(rows, 40) == (rows, "")


# --- whole sweeps, slow ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("question", "values"),
    [("threshold", 5), ("mu", 5), ("ema", 4), ("batch_norm", 5), ("strength", 4), ("labels", 10)],
)
def test_every_question_of_the_ablations_is_sound(question, values):
    """One seed of each: a run a value, each with another config; the first is the config's own."""
    config = f"{ROOT / 'configs' / 'digits_ablations.py'}:{question}"
    runs = plan.plan(config, ["--config.method="], "seed=0")
    assert len(runs) == len({run.digest for run in runs.values()}) == values
    first = next(run.digest for name, run in runs.items() if not name.startswith("supervised"))
    own = ["--config.split.labelled.total=10"] if question == "labels" else []
    assert first == plan.digest(config, own)


def launched(folder, *options, **more):
    """A sweep of tiny_config as a process."""
    env = {**os.environ, "XLA_FLAGS": "", "NPROC": "2"}
    command = ["launch.py", f"--config={TINY}", f"--workdir={folder}", "--workers=2", *options]
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **more,
    )


def children(pid):
    """The processes that a process has started."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


TWELVE = ("--grid=objective.name=supervised,fixmatch;seed=0:6", "--config.checkpoint.every=20")


@pytest.mark.slow
def test_twelve_runs_survive_having_their_workers_killed(tmp_path):
    """Each of five kills meets a worker amid a run; what comes out is what had come undisturbed."""
    folder = tmp_path / "killed"
    running = launched(folder, *TWELVE, "--config.length.steps=120")
    killed: dict[int, str] = {}
    while len(killed) < 5:
        killed.update(until(lambda: amid(folder, killed), 300)[:1])
        os.kill(list(killed)[-1], signal.SIGKILL)
    said = running.communicate(timeout=900)[0]
    assert running.returncode == 0, said
    assert said.count("its process was killed by signal 9") == 5
    assert len(list(folder.glob("*/status.json"))) == 12
    plain = launched(tmp_path / "plain", *TWELVE, "--config.length.steps=120")
    assert plain.communicate(timeout=900) and plain.returncode == 0
    for run in (p.parent for p in (tmp_path / "plain").glob("*/metrics.jsonl")):
        for file in ("metrics.jsonl", "eval/test.json"):
            assert (folder / run.name / file).read_bytes() == (run / file).read_bytes(), run


def amid(folder, killed):
    """(process, run) amid its steps, of those not killed yet, and runs that may be killed again."""
    found = {path.parent.name: files.read_json(path) for path in folder.glob("*/status.json")}
    again = [name for name in found if list(killed.values()).count(name) < todo.TRIES - 1]
    at_work = [(found[name]["pid"], name) for name in again if 0 < found[name]["step"] < 100]
    return [(pid, name) for pid, name in at_work if pid not in killed and alive(pid)]


@pytest.mark.slow
def test_runs_are_saved_when_their_sweep_is_killed_and_the_same_command_goes_on(tmp_path):
    long = ("--sweep", "--config.length.steps=2000", "--config.checkpoint.every=1000")
    running = launched(tmp_path, *long)
    until(lambda: len(list(tmp_path.glob("*/metrics.jsonl"))) == 2, 200)
    pids = children(running.pid)
    running.kill()
    running.communicate()
    until(lambda: not any(map(alive, pids)), 60)
    states = [files.read_json(path) for path in tmp_path.glob("*/status.json")]
    assert [status["state"] for status in states] == ["interrupted"] * 2
    went_on = launched(tmp_path, *long)
    said = went_on.communicate(timeout=900)[0]
    assert went_on.returncode == 0 and said.count(": goes on\n") == 2, said
    assert "resuming" in (tmp_path / "supervised-seed0" / "train.log").read_text()


@pytest.mark.slow
def test_one_failing_run_does_not_stop_the_others(tmp_path):
    config = tmp_path / "mixed.py"
    config.write_text(
        '"""One of two diverges."""\n'
        "from tests.tiny_config import get_config\n"
        "def sweep():\n"
        '    yield {"seed": 0, "optimizer.rate.peak": 1e30}\n'
        '    yield {"seed": 1}\n'
    )
    done = launched(tmp_path / "s", "--sweep", f"--config={config}")
    said = done.communicate(timeout=300)[0]
    assert done.returncode == 2 and "did not finish: exit code 4" in said
    assert "diverged (exit code 4)" in said and "seed1: finished" in said
