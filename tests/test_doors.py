"""The two doors as a user meets them: what they print, on which stream, with which exit code."""

import json
import os
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def call(*command, **more):
    env = {**os.environ, "XLA_FLAGS": "", "NPROC": "2", "PYTHONPATH": str(ROOT)}
    given = {"cwd": ROOT, "env": env, "capture_output": True, "text": True, "timeout": 300, **more}
    return subprocess.run([sys.executable, *map(str, command)], **given)


def launch(*options, **more):
    return call("launch.py", *options, **more)


def lowlabel(*options, **more):
    return call("-m", "lowlabel_jax", *options, **more)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The folder of a finished sweep of two methods and two seeds."""
    folder = tmp_path_factory.mktemp("sweep") / "cmp"
    done = launch("--config=tests/tiny_config.py", f"--workdir={folder}", "--sweep", "--workers=2")
    assert done.returncode == 0, done.stderr + done.stdout
    return folder, done.stdout


# --- launch.py ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--config=tests/tiny_config.py", "--workdir=x", "config.seed=1"],
            "error: 'config.seed=1' is not an option. Did you mean '--config.seed=1'?\nhint: ",
        ),
        (
            ["--config=tests/tiny_config.py", "--workdir=x", "--config.sed=1"],
            "error: unknown setting 'sed'. Did you mean 'seed'?\nhint: ",
        ),
        (["--config=tests/tiny_confg.py", "--workdir=x"], "Did you mean 'tests/tiny_config.py'?"),
        (["--config=tests/tiny_config.py"], "error: --workdir is missing.\nhint: add --workdir="),
        (["--config=tests/tiny_config.py:fixmach", "--workdir=x"], "Did you mean 'fixmatch'?"),
        (
            [
                "--config=tests/tiny_config.py",
                "--workdir=x",
                "--config.batch.mu=0",
                "--config.ema.decay=2",
            ],
            "error: 2 problems:\n  - ",
        ),
        (["--config=configs/digits_fixmatch.py", "--workdir=x", "--sweep"], "defines no sweep()"),
    ],
)
def test_a_mistake_is_said_in_two_lines_before_jax_is_imported(options, said):
    done = call("-X", "importtime", "launch.py", *options)
    said_lines = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == 2 and said in "\n".join(said_lines)
    assert "Traceback" not in done.stderr and not re.search(r"\| jax(lib)?$", done.stderr, re.M)


def test_the_traceback_is_there_for_who_asks():
    done = launch("--config=tests/no.py", "--workdir=x", "--traceback")
    assert done.returncode == 2 and "Traceback" in done.stderr


def test_a_dry_run_shows_everything_and_writes_nothing(tmp_path):
    done = launch(
        "--config=tests/tiny_config.py:fixmatch", f"--workdir={tmp_path / 'r'}", "--dry_run"
    )
    assert done.returncode == 0, done.stderr
    config = json.loads(done.stdout[: done.stdout.index("\n}\n") + 2])
    assert config["objective" if "objective" in config else "phases"]
    for said in (
        "20 labelled, 1,297 unlabelled, 0 validation, 500 test",
        "conv_0",
        "head",
        "steps: 12 steps, 8 labelled + 24 unlabelled images each",
        "MiB",
    ):
        assert said in done.stdout
    assert not (tmp_path / "r").exists()


def test_a_terminal_sees_one_live_line(tmp_path):
    """With a pseudo-terminal for stdout: the bar with rate and time left is redrawn in place."""
    import pty

    leader, follower = pty.openpty()
    command = [
        sys.executable,
        "launch.py",
        "--config=tests/tiny_config.py",
        f"--workdir={tmp_path}",
    ]
    env = {**os.environ, "XLA_FLAGS": "", "NPROC": "2", "TERM": "xterm", "COLUMNS": "150"}
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=follower, stderr=follower)
    os.close(follower)
    seen = b""
    while process.poll() is None or select.select([leader], [], [], 0)[0]:
        try:
            seen += os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
    text = seen.decode()
    assert process.wait() == 0 and "12/12" in text and "steps/s" in text and "loss" in text
    assert "\x1b[" in text and "left  loss" not in text


def test_a_sweep_runs_compares_and_says_where(swept):
    folder, said = swept
    result = json.loads((folder / "compare.json").read_text())
    assert list(result["methods"]) == ["supervised", "fixmatch"]
    assert result["metric"] == "test/accuracy (EMA, last step)"
    for method in result["methods"].values():
        assert method["n"] == 2 and method["seeds"] == [0, 1] and len(method["values"]) == 2
    (pair,) = result["pairs"]
    assert (pair["a"], pair["b"], pair["n"]) == ("fixmatch", "supervised", 2)
    assert {p.name for p in folder.iterdir()} >= {
        "compare.json",
        "compare.md",
        "compare.png",
        "fixmatch-seed0",
        "supervised-seed1",
    }
    assert "compare.png" in said and "fixmatch-seed1: finished, test accuracy" in said


def test_a_finished_sweep_is_looked_at_and_left(swept):
    folder, _ = swept
    before = {p: p.stat().st_mtime_ns for p in folder.glob("*/metrics.jsonl")}
    done = launch("--config=tests/tiny_config.py", f"--workdir={folder}", "--sweep")
    assert done.returncode == 0
    assert {p: p.stat().st_mtime_ns for p in folder.glob("*/metrics.jsonl")} == before


def test_help_has_examples_and_exit_codes():
    done = launch("--help")
    assert done.returncode == 0 and "examples:" in done.stdout and "exit codes:" in done.stdout


# --- lowlabel -------------------------------------------------------------------------------------


def test_evaluate_for_people_and_for_programs(swept):
    run = swept[0] / "fixmatch-seed0"
    done = lowlabel("evaluate", run, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((run / "eval" / "test.json").read_text())
    page = lowlabel("evaluate", run).stdout
    assert "EMA" in page and "calibration error" in page and len(page.splitlines()) == 21


def test_compare_for_people_and_for_programs(swept, tmp_path):
    folder, _ = swept
    done = lowlabel("compare", folder, "--json", "--out", tmp_path)
    assert json.loads(done.stdout) == json.loads((tmp_path / "compare.json").read_text())
    page = lowlabel("compare", folder, "--out", tmp_path).stdout
    assert "fixmatch" in page and "supervised" in page


def test_runs_lists_them_all(swept):
    folder, _ = swept
    found = json.loads(lowlabel("runs", folder, "--json").stdout)
    assert len(found) == 4 and {row["state"] for row in found} == {"finished"}
    assert "fixmatch-seed0" in lowlabel("runs", folder).stdout


def test_configs_lists_them_and_explains_one():
    listed = lowlabel("configs").stdout
    assert "digits_fixmatch" in listed and "quickstart" in listed
    one = lowlabel("configs", "digits_fixmatch").stdout
    assert re.search(r"--config.batch.mu=\d+ +unlabelled images a step", one)
    assert re.search(r"--config.objective.threshold=0.8 +from 0 to 1", one)
    assert re.search(r"--config.objective.name='fixmatch' +Equations 3 and 4", one)
    wrong = lowlabel("configs", "digits_fixmach")
    assert wrong.returncode == 2 and "Did you mean 'digits_fixmatch'?" in wrong.stderr


def test_summary_and_doctor():
    table = lowlabel("summary", "tests/tiny_config.py").stdout
    assert "conv_0" in table and "flops" in table and "head" in table
    facts = lowlabel("doctor")
    assert facts.returncode == 0 and "devices" in facts.stdout and "GiB" in facts.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["evaluate", "nowhere"], "holds no run"),
        (["compare", "nowhere"], "there is no directory nowhere"),
        (["runs", "nowhere"], "there is no directory nowhere"),
    ],
)
def test_mistakes_are_two_lines_too(options, said):
    done = lowlabel(*options)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_version_and_help():
    assert re.fullmatch(r"lowlabel_jax \d+\.\d+\.\d+\n", lowlabel("--version").stdout)
    assert "examples:" in lowlabel().stdout


def test_a_closed_pipe_is_no_crash(swept):
    script = f"{sys.executable} -m lowlabel_jax configs digits_fixmatch | head -1"
    done = subprocess.run(script, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
