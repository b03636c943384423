"""Every shell block of the README and of CONTRIBUTING runs, in the order in which it is read.

Trainings are cut to a few steps (the promise of the quickstart is kept whole, below); `make` uses
the environment that the tests run in.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHORT = "--config.length.steps=6 --config.optimizer.rate.warmup=0"
CARRIED = ("launch.py", "Makefile", "pyproject.toml", "configs", "lowlabel_jax", "README.md")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what the commands need: nothing is written into the project's own folder."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in CARRIED:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, copy / name)
    sweep = copy / "configs" / "digits_compare.py"  # what one seed shows, twelve show no better
    sweep.write_text(sweep.read_text().replace("seeds=range(12)", "seeds=range(1)"))
    return copy


def blocks(path):
    return re.findall(r"```(?:bash|sh)\n(.*?)```", path.read_text(encoding="utf-8"), re.S)


def here(command):
    """A command of a document, in this environment."""
    venv = Path(sys.executable).parent.parent
    made = f"make -o {venv}/installed -o {venv}/installed-dev VENV={venv}"
    return re.sub(r"^make ", f"{made} ", command, flags=re.M)


def run(script, cwd):
    env = {
        **os.environ,
        "XLA_FLAGS": "",
        "PYTHONPATH": str(cwd),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    env.pop("NPROC", None)
    return subprocess.run(
        ["bash", "-euc", script], cwd=cwd, env=env, capture_output=True, text=True, timeout=500
    )


@pytest.mark.slow
def test_the_readme_from_top_to_bottom(checkout):
    found = blocks(ROOT / "README.md")
    assert len(found) >= 3
    for block in found:
        lines = [re.sub(r"#.*", "", line) for line in block.replace("\\\n", " ").splitlines()]
        for line in filter(str.strip, lines):
            if line.startswith(("make quickstart", "make test", "make check", "git clone", "cd ")):
                continue
            done = run(f"{line} {SHORT}" if "launch.py" in line else line, checkout)
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
def test_the_quickstart_keeps_its_promise(checkout):
    """Ten labels: FixMatch clearly above supervised; numbers, a picture and what to type next."""
    shutil.rmtree(checkout / "runs" / "quickstart", ignore_errors=True)
    began = time.monotonic()
    done = run(here("make quickstart"), checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((checkout / "runs/quickstart/compare.json").read_text())
    means = {name: method["mean"] for name, method in result["methods"].items()}
    assert means["fixmatch"] > means["supervised"] + 0.1
    assert (checkout / "runs/quickstart/compare.png").stat().st_size > 10_000
    assert "compare.png" in done.stdout and "next:" in done.stdout
    print(f"quickstart: {time.monotonic() - began:.0f} s, {means}")


def test_the_method_of_contributing_is_one_file_and_no_other_edit(checkout):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
    (checkout / "lowlabel_jax" / "objectives" / "my_method.py").write_text(code)
    options = "--workdir=runs/mine --config.objective.name=my_method --config.objective.weight=0.1"
    done = run(f"python launch.py --config=configs/digits_fixmatch.py {options} {SHORT}", checkout)
    assert done.returncode == 0, done.stderr
    assert "my_method with small_cnn" in done.stdout and "test accuracy" in done.stdout


def test_every_path_that_a_document_names_is_there():
    for page in ("README.md", "CONTRIBUTING.md", "docs/design.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for path in re.findall(r"`((?:lowlabel_jax|configs|tests|docs|benchmarks)/[\w/.]+)`", text):
            if "NAME" not in path:
                assert (ROOT / path).exists(), f"{page} names {path}"
