"""What the scripts here share: programs timed in turn on one core, and what is written of it.

Ratios inside one run are what counts: absolute times move with the machine and with its load, which
is recorded. Nothing here imports JAX or PyTorch, for a peer in another environment uses it too.
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parent
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "pillow", "scipy", "torch")
ROUNDS, ENOUGH = 7, 0.5  # turns of each, and the seconds that one takes at least
ONE_CORE = "--xla_cpu_multi_thread_eigen=false"

Times = list[tuple[float, float]]  # (CPU, wall) seconds a call, one pair a round
Clock = Callable[[int], tuple[float, float]]  # calls to make -> (CPU, wall) seconds a call


class Options(NamedTuple):
    """What the command line says."""

    quick: bool = False  # toy sizes, one round: does it run? Its times mean nothing
    torch: str = ""  # a Python that has PyTorch; empty: no such rows
    only: str = ""  # rows whose name has this in it
    rounds: int = ROUNDS
    out: str = ""  # folder to write to; empty: nothing is written

    def wants(self, name: str) -> bool:
        """Whether a row is asked for."""
        return self.only in name


def clock(run: Callable[[], Any]) -> Clock:
    """A clock of a function; it must return only when its work is done."""

    def timed(turns: int) -> tuple[float, float]:
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(turns):
            run()
        return (time.process_time() - cpu) / turns, (time.perf_counter() - wall) / turns

    return timed


def rounds(clocks: Mapping[str, Clock], options: Options) -> dict[str, Times]:
    """{who: a pair a round}: each takes a turn in every round. The first call is not kept."""
    if options.quick:
        return {who: [timed(1)] for who, timed in clocks.items()}
    for timed in clocks.values():
        timed(1)
    turns = {who: max(1, int(ENOUGH / max(timed(1)))) for who, timed in clocks.items()}
    found = {who: [] for who in clocks}
    for _ in range(options.rounds):
        for who, timed in clocks.items():
            found[who].append(timed(turns[who]))
    return found


def median(times: Times, wall: bool = False) -> float:
    """Seconds a call: of CPU time, or of wall time."""
    return statistics.median(pair[wall] for pair in times)


def ratio(peer: Times, ours: Times, wall: bool = False) -> float:
    """How many times as fast as the peer ours is: the median of the rounds' own ratios."""
    both = zip(peer, ours, strict=True)
    return statistics.median(theirs[wall] / mine[wall] for theirs, mine in both)


def goal(row: str, measure: str, value: float, **bound: float) -> dict[str, Any]:
    """A row of RESULTS.md; bound: at_least or at_most, as a number, or neither for a plain fact."""
    kind, limit = next(iter(bound.items()), ("", None))
    met = None if limit is None else (value >= limit if kind == "at_least" else value <= limit)
    return {"row": row, "measure": measure, "value": value, "kind": kind, "goal": limit, "met": met}


@contextlib.contextmanager
def peer(python: str, module: str) -> Iterator[Callable[..., Any] | None]:
    """A function that asks a process of another Python, which rests between its turns; or None.

    The module's `serve` answers each line of JSON with one; it inherits this process's core.
    """
    if not python:
        yield None
        return
    command = [python, "-m", f"benchmarks.{module}"]
    with subprocess.Popen(command, cwd=ROOT, stdin=-1, stdout=-1, text=True, bufsize=1) as process:
        assert process.stdin and process.stdout
        told, said = process.stdin, process.stdout

        def ask(*question: Any) -> Any:
            told.write(json.dumps(question) + "\n")
            return json.loads(said.readline())

        try:
            yield ask
        finally:
            told.close()
            said.close()


def serve(answer: Callable[..., Any]) -> None:
    """A peer's side: a line of arguments in, a line with what `answer` says of them out."""
    for line in sys.stdin:
        print(json.dumps(answer(*json.loads(line))), flush=True)


def one_core() -> None:
    """This process, the threads that JAX is yet to start and its children on one core."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {ONE_CORE}".strip()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def machine() -> dict[str, Any]:
    """Versions, processor, load: what a reader needs to judge a number."""
    now = datetime.datetime.now(datetime.UTC)
    return {
        "date": now.isoformat(timespec="seconds"),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES if version(name)},
        "processor": processor(),
        "cores": os.cpu_count(),
        "cores in use": len(os.sched_getaffinity(0)),
        "platform": platform.platform(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "commit": git("rev-parse", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--", "lowlabel_jax")),
    }


def version(package: str) -> str:
    """A package's version, "" where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def processor() -> str:
    """The processor's name and its widest vectors, as far as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    said = dict(line.split(":", 1) for line in lines if ":" in line)
    found = {name.strip(): value for name, value in said.items()}
    flags = found.get("flags", "").split()
    wide = [name for name in ("amx_tile", "avx512f", "avx2") if name in flags]
    return f"{found.get('model name', '').strip()}, {wide[0] if wide else 'no AVX2'}"


def git(*arguments: str) -> str:
    """What git says, "" where there is none."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip()


def markdown(header: list[str], rows: list[list[Any]]) -> str:
    """A table; numbers as `short` has them."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(map(short, line))} |\n" for line in lines)


def short(value: Any) -> str:
    """Three digits of a number, all before its point; anything else as it is, None as nothing."""
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def footer(report: Mapping[str, Any]) -> str:
    """A line below a table: with what, when and beside what load it was measured."""
    said = report["machine"]
    versions = ", ".join(f"{name} {said[name]}" for name in PACKAGES if name in said)
    peer_version = f", PyTorch {report['torch']}" if report.get("torch") else ""
    before, after = report["load"]
    return (
        f"\n{said['processor']}, {said['cores in use']} of {said['cores']} cores; load "
        f"{before:.1f} to {after:.1f}; {versions}{peer_version}; {said['date']}; "
        f"{report['rounds']} rounds.\n"
    )


def script(
    name: str,
    doc: str,
    measured: Callable[[Options], dict[str, Any]],
    table: Callable[[dict[str, Any]], str],
    ready: Callable[[], None] = one_core,
) -> None:
    """Read the command line, measure, write NAME.json and NAME.md, show.

    measured(options) -> report, with "goals" in it; table(report) -> Markdown; ready is what must
    be done before JAX is imported.
    """
    options = parsed(doc)
    ready()
    from lowlabel_jax import start

    start.jax_ready()  # programs that were compiled before are kept: they are not what is timed
    before = os.getloadavg()[0]
    report = measured(options)
    report = {**report, "rounds": 1 if options.quick else options.rounds, "machine": machine()}
    report["load"] = [before, os.getloadavg()[0]]
    shown = table(report) + footer(report)
    if options.out:
        write(options.out, name, report, shown)
    print(shown)


def write(folder: str, name: str, report: Mapping[str, Any], shown: str) -> None:
    """NAME.json and NAME.md into a folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    Path(folder, f"{name}.md").write_text(shown)


def parsed(doc: str) -> Options:
    """The command line's options; a run that leaves something out writes only where it is told."""
    here = sys.executable if importlib.util.find_spec("torch") else ""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="toy sizes: only whether it runs")
    parser.add_argument("--torch", default=here, help="a Python that has PyTorch")
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", help="folder to write to; benchmarks/ for a whole run")
    said = vars(parser.parse_args())
    if said["out"] is None:
        said["out"] = "" if said["quick"] or said["only"] else str(HERE)
    return Options(**said)
