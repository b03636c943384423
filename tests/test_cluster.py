"""Runs as jobs: what is asked of SLURM, nothing twice, saved and queued again, the files of docs/.

There is no SLURM here. Its commands are stand-ins on PATH that write down what they are told, and
in the slow test do it; submitit, its job scripts and its processes are the real ones.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml

import launch
from lowlabel_jax.core import files
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.runs import directory
from lowlabel_jax.runs.sweep import cluster, cluster_options, cluster_submit
from lowlabel_jax.runs.sweep.cluster_job import Job

ROOT = Path(__file__).parent.parent
CLUSTER = ROOT / "docs" / "cluster"
CONFIG = "tests/tiny_config.py"
SHORT = "--config.length.steps=600 --config.checkpoint.every=20"

SBATCH = """#!/bin/bash
[ -e $FAKE/refuses ] && { echo "sbatch: error: invalid partition" >&2; exit 1; }
number=$((100 + $(ls $FAKE | grep -c 'sh$')))
cp "$1" $FAKE/$number.sh
if [ -n "$FAKE_RUNS" ]; then setsid slurmd $number > $FAKE/$number.log 2>&1 < /dev/null & fi
echo "Submitted batch job $number"
"""
# Runs the jobs of an array beside each other, each again as often as it is queued again.
SLURMD = """#!/bin/bash
one() {
    export SLURM_JOB_ID=$1$2 SLURM_ARRAY_JOB_ID=$1 SLURM_ARRAY_TASK_ID=$2 SLURM_PROCID=0
    job=$1_$2
    while touch $FAKE/queue/$job; bash $FAKE/$1.sh; [ -e $FAKE/again.$job ]; do
        mv $FAKE/again.$job $FAKE/was-again.$job
    done
    rm $FAKE/queue/$job
}
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' $FAKE/$1.sh)
for i in $(seq 0 $last); do one $1 $i & done
wait
"""
COMMANDS = {
    "sbatch": SBATCH,
    "slurmd": SLURMD,
    "squeue": '#!/bin/bash\necho "$@" > $FAKE/asked\n[ ! -e $FAKE/broken ] && ls $FAKE/queue',
    "scontrol": "#!/bin/bash\ntouch $FAKE/again.$2",
    # submitit's --output FILE --error FILE, then what it runs
    "srun": '#!/bin/bash\nwhile [ "$1" != env ]; do shift; done\nexec "$@"',
}


@pytest.fixture(scope="module", autouse=True)
def imported(tmp_path_factory):
    """submitit, before a test captures: its import shuts absl's logging, which closes the stream
    that it has, unless that is still sys.stderr."""
    cluster_submit.executor(tmp_path_factory.mktemp("any"), cluster.cluster_of("local", []))


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder of what SLURM's commands were told; queue/ has the jobs that are under way."""
    fake = tmp_path / "slurm"
    (fake / "queue").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    for name, script in COMMANDS.items():
        path = tmp_path / "bin" / name
        path.write_text(script)
        path.chmod(0o755)
    monkeypatch.setenv("FAKE", str(fake))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.chdir(ROOT)
    return fake


def scripts(slurm):
    """The scripts that sbatch was given, in order."""
    return [path.read_text() for path in sorted(slurm.glob("*.sh"))]


def launched(monkeypatch, *arguments):
    """The exit code of launch.py, in this process."""
    monkeypatch.setattr(sys, "argv", ["launch.py", f"--config={CONFIG}", *map(str, arguments)])
    return launch.main()


def commands(workdir, job):
    """The commands of a job that was handed in."""
    from submitit.core.utils import DelayedSubmission

    loaded = DelayedSubmission.load(workdir / "jobs" / f"{job}_submitted.pkl")
    return [shlex.join(command) for _, command in loaded.function.runs]


def test_options_have_types_and_those_unknown_are_named():
    given = "partition=gpu timeout_min=60 mem_gb=7.5 setup=a setup=b sbatch.reservation=night"
    found = cluster_options.read([*given.split(), "sbatch.exclusive=true"])
    assert found == {
        "partition": "gpu",
        "timeout_min": 60,
        "mem_gb": 7.5,
        "setup": ["a", "b"],
        "signal_delay_s": 120,
        "additional_parameters": {"requeue": True, "reservation": "night", "exclusive": True},
    }
    with pytest.raises(UserError) as told:
        cluster_options.read(["partitoin=gpu", "nodes=two", "timeout_min=0", "qos"])
    assert "Did you mean 'partition'" in told.value.message
    assert "nodes is a whole number" in told.value.message
    assert "timeout_min=0" in told.value.message and "qos= is not KEY=VALUE" in told.value.message
    assert all(name in told.value.hint for name in cluster_options.KNOWN)


def test_a_sweep_is_one_array_that_is_signalled_and_queued_again(slurm, monkeypatch, tmp_path):
    asked = ("partition=gpu", "gpus_per_node=1", "array_parallelism=2", "sbatch.reservation=night")
    options = [f"--cluster_option={one}" for one in asked]
    run = ("--grid=seed=0:3", f"--workdir={tmp_path / 'runs'}", "--cluster=slurm", *options)
    assert launched(monkeypatch, *run) == 0
    (script,) = scripts(slurm)
    found = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", script, re.M))
    wanted = {"partition": "gpu", "gpus-per-node": "1", "reservation": "night", "array": "0-2%2"}
    wanted |= {"signal": "USR1@120", "requeue": "", "time": "240", "job-name": "runs"}
    assert {key: found.get(key) for key in wanted} == wanted
    assert found["output"].startswith(str(tmp_path / "runs" / "jobs"))
    assert f"PYTHONPATH={ROOT}" in script and "SUBMITIT_PREEMPT_SIGNAL=USR1" in script
    kept = files.read_json(tmp_path / "runs" / "jobs" / "jobs.json")
    assert {name: job["job"] for name, job in kept.items()} == {
        f"seed{i}": f"100_{i}" for i in range(3)
    }
    (one,) = commands(tmp_path / "runs", "100_2")
    assert one.endswith(f"--workdir={tmp_path / 'runs' / 'seed2'} --config.seed=2")


def test_nothing_is_submitted_twice(slurm, tmp_path, capsys):
    where = cluster.cluster_of("slurm", [])
    jobs = {
        name: ["python", "launch.py", f"--config={CONFIG}", f"--workdir={tmp_path / name}"]
        for name in ("a", "b", "c")
    }
    assert cluster.train_all(jobs, tmp_path, where) == {}
    for job in ("100_0", "100_1"):
        (slurm / "queue" / job).touch()
    run = tmp_path / "c"  # finished since
    files.write_json(run / "status.json", {"state": "finished"})
    (tmp_path / "jobs" / "c.code").write_text("0")
    assert cluster.train_all(jobs, tmp_path, where) == {"c": 0}
    assert "a: job 100_0 is at it already" in capsys.readouterr().out
    assert len(scripts(slurm)) == 1
    assert "--array" in (slurm / "asked").read_text()

    (slurm / "queue" / "100_0").unlink()  # its node has failed
    with files.locked(tmp_path):  # not the run's: nobody trains it
        assert cluster.train_all(jobs, tmp_path, where) == {"c": 0}
    assert len(scripts(slurm)) == 2 and "--array" not in scripts(slurm)[1]
    assert files.read_json(tmp_path / "jobs" / "jobs.json")["a"]["job"] == "101"

    jobs["c"].append("--config.seed=5")  # another run than the one that finished
    (slurm / "queue" / "101").touch()
    with files.locked(run):
        assert cluster.train_all(jobs, tmp_path, where) == {}
        assert "c: another process is at it already" in capsys.readouterr().out
    assert cluster.train_all(jobs, tmp_path, where) == {} and len(scripts(slurm)) == 3

    (slurm / "broken").touch()
    with pytest.raises(UserError, match="could not be asked"):
        cluster.train_all(jobs, tmp_path, where)
    assert len(scripts(slurm)) == 3


def test_a_student_is_submitted_after_its_teacher(slurm, tmp_path, capsys):
    line = ["python", "launch.py", f"--config={CONFIG}"]
    jobs = {
        "student": [*line, f"--workdir={tmp_path / 'student'}", f"--x={tmp_path / 'teacher'}"],
        "teacher": [*line, f"--workdir={tmp_path / 'teacher'}"],
    }
    where = cluster.cluster_of("slurm", [])
    cluster.train_all(jobs, tmp_path, where)
    assert list(files.read_json(tmp_path / "jobs" / "jobs.json")) == ["teacher"]
    assert "1 runs need others first" in capsys.readouterr().out


def test_what_begins_a_run_anew_is_not_in_the_job_which_may_be_queued_again(
    slurm, monkeypatch, tmp_path, capsys
):
    run = tmp_path / "run"
    files.write_json(run / "config.json", {"old": "run"})
    files.write_text(run / "jobs" / "99_0_log.out", "a job writes here")
    given = ["--cluster", "slurm", "--cluster_option", "qos=high", f"--workdir={run}"]
    given += ["--overwrite", "--resume=never", "--traceback", "--config.seed=7"]
    assert launched(monkeypatch, *given) == 0
    assert list((run / "trash").rglob("config.json")) and not (run / "config.json").exists()
    assert (run / "jobs" / "99_0_log.out").exists()
    (command,) = commands(run, "100")
    assert command.endswith(f"--config={CONFIG} --workdir={run} --traceback --config.seed=7")
    assert "submitted to slurm: job 100\n" in capsys.readouterr().out
    directory.check_resume(run, "auto")  # the job's files are not another's: it may begin here


def test_what_is_missing_is_said_before_anything_is_submitted(slurm, monkeypatch, tmp_path, capsys):
    given = (f"--workdir={tmp_path / 'run'}", "--cluster=slurm")
    assert launched(monkeypatch, f"--workdir={tmp_path}", "--wait") == 2
    assert "are of --cluster" in capsys.readouterr().err
    assert launched(monkeypatch, *given, "--cluster_option=nodes=2") == 2
    assert "a job of 2 processes" in capsys.readouterr().err
    assert launched(monkeypatch, *given, "--search=3") == 2
    assert "--search runs on the machine" in capsys.readouterr().err
    assert not scripts(slurm)
    (slurm / "refuses").touch()
    assert launched(monkeypatch, *given) == 2
    assert "invalid partition" in capsys.readouterr().err
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: None)
    assert launched(monkeypatch, *given) == 2
    assert "pip install 'lowlabel_jax[cluster]'" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(ROOT)
    assert launched(monkeypatch, *given) == 2
    assert "there is no sbatch" in capsys.readouterr().err


SAVES = """
import pathlib, signal, sys, time
mark = pathlib.Path(sys.argv[1])
if mark.exists():
    sys.exit(print("goes on"))
def save(number, _):
    mark.write_text(signal.Signals(number).name)
    sys.exit(int(sys.argv[2]))
signal.signal(signal.SIGUSR1, save)
signal.signal(signal.SIGTERM, save)
print("begins", flush=True)
time.sleep(60)
"""


def until(happens, seconds=60):
    """Wait for something to happen."""
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def said(path, words):
    """Whether a file has the words by now."""
    return path.exists() and words in path.read_text()


def saving(folder, code):
    """(a job handed to this machine's processes, its run, its mark) once it waits to be told.

    There is another run after it, which says nothing of interest.
    """
    run, mark = folder / "run", folder / "mark"
    (folder / "saves.py").write_text(SAVES)
    command = [sys.executable, str(folder / "saves.py"), str(mark), str(code)]
    runs = [(run, command), (folder / "next", [sys.executable, "-c", "pass"])]
    job = Job(runs, folder, folder / "jobs", {})
    made = cluster_submit.executor(folder, cluster.cluster_of("local", []))
    (handed,) = made.submit_array([job])
    until(lambda: said(run / "train.log", "begins"))
    return handed, run, mark


def test_a_job_told_of_its_end_saves_and_goes_on_by_itself(tmp_path):
    job, run, mark = saving(tmp_path, 0)
    children = Path(f"/proc/{job.job_id}/task/{job.job_id}/children").read_text().split()
    kept = {"run": {"cluster": "local", "job": job.job_id}}
    assert cluster.cluster_queue.under_way(kept, tmp_path) == {"run": job.job_id}
    assert cluster.cluster_queue.under_way(kept, tmp_path / "other") == {}
    os.kill(int(children[0]), signal.SIGUSR1)  # as SLURM does, `signal_delay_s` before the end
    job._process.wait(60)
    assert mark.read_text() == "SIGUSR1" and said(run / "train.log", "goes on")
    for name in ("run", "next"):
        assert (tmp_path / "jobs" / f"{name}.code").read_text() == "0"
    assert said(job.paths.stdout, "Requeued job")
    assert cluster.cluster_queue.under_way(kept, tmp_path) == {}


def test_a_job_that_is_stopped_saves_and_is_not_queued_again(tmp_path):
    job, run, mark = saving(tmp_path, 143)
    os.kill(int(job.job_id), signal.SIGTERM)
    job._process.wait(60)
    assert mark.read_text() == "SIGTERM" and not said(run / "train.log", "goes on")
    assert (tmp_path / "jobs" / "run.code").read_text() == "143"
    assert not (tmp_path / "next").exists()


def test_a_run_that_fails_stops_no_other_and_is_not_begun_again(tmp_path, monkeypatch):
    monkeypatch.delenv("SUBMITIT_EXECUTOR", raising=False)
    ends = {"a": 0, "b": 4, "c": 0}
    runs = [
        (tmp_path / name, [sys.executable, "-c", f"print('{name} says'); exit({code})"])
        for name, code in ends.items()
    ]
    with pytest.raises(RuntimeError, match=r"b: exit code 4") as told:
        Job(runs, tmp_path, tmp_path / "jobs", None)()
    assert "c: exit" not in str(told.value)
    for name, code in ends.items():
        assert (tmp_path / "jobs" / f"{name}.code").read_text() == str(code)
        assert said(tmp_path / name / "train.log", f"{name} says")

    job = Job(runs, tmp_path, tmp_path / "jobs", None)
    fails = (
        "import signal, time; signal.signal(signal.SIGUSR1, lambda *_: exit(2)); print(1, flush=1)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", f"{fails}; time.sleep(60)"], stdout=subprocess.PIPE
    ) as job.child:
        job.child.stdout.readline()
        assert job.checkpoint() is None


def waited(slurm, run, monkeypatch):
    """A process of launch.py that waits for the jobs of a sweep of two runs."""
    monkeypatch.setenv("FAKE_RUNS", "yes")
    given = f"--grid=seed=0:2 {SHORT} --cluster=slurm --wait --workdir={run}"
    return subprocess.Popen(
        [sys.executable, "launch.py", f"--config={CONFIG}", *given.split()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_an_array_on_a_stand_in_of_slurm_is_signalled_and_ends_in_the_same_bytes(
    slurm, monkeypatch, tmp_path
):
    run = tmp_path / "runs"
    with waited(slurm, run, monkeypatch) as waiting:
        until(lambda: said(run / "seed1" / "train.log", "Compiling"), 120)
        until(lambda: list(run.glob("seed1/checkpoints/*")), 120)
        jobs = [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/environ")
            if mine(path, "SLURM_ARRAY_TASK_ID=1\0", f"FAKE={slurm}\0")
        ]
        for job in jobs:  # SLURM signals every process of a job's step, the run itself too
            os.kill(job, signal.SIGUSR1)
        out = waiting.communicate(timeout=500)[0]
    assert waiting.returncode == 0, out
    assert (slurm / "was-again.100_1").exists() and not (slurm / "was-again.100_0").exists()
    assert said(run / "seed1" / "train.log", "resuming") and "fixmatch" not in out
    assert "seed1: finished" in out and (run / "compare.html").exists()

    alone = [f"--config={CONFIG}", *SHORT.split(), "--config.seed=1"]
    subprocess.run(
        [sys.executable, "launch.py", *alone, f"--workdir={tmp_path / 'alone'}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in ("metrics.jsonl", "predictions/test.npz"):
        assert (run / "seed1" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def mine(environ, *settings):
    """Whether a python process has these settings in its environment."""
    try:
        there = environ.read_bytes().decode(errors="replace")
        program = (environ.parent / "cmdline").read_bytes()
    except OSError:
        return False
    return all(one in there for one in settings) and b"python" in program.split(b"\0")[0]


@pytest.mark.slow
def test_a_run_on_this_machine_is_signalled_and_ends_in_the_same_bytes(tmp_path):
    base = [f"--config={CONFIG}", *SHORT.split()]

    def run(name, *more):
        command = [sys.executable, "launch.py", *base, f"--workdir={tmp_path / name}", *more]
        with open(tmp_path / "said", "w") as out:  # the job would hold a pipe open
            subprocess.run(command, cwd=ROOT, check=True, stdout=out)
        return (tmp_path / "said").read_text()

    run("alone")
    out = run("job", "--cluster=local")
    controller = re.search(r"job (\d+)", out)[1]
    until(lambda: list(tmp_path.glob("job/checkpoints/*")), 120)
    children = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGUSR1)
    assert f"job {controller} is at it already" in run("job", "--cluster=local")
    run("job", "--cluster=local", "--wait")
    assert said(tmp_path / "job" / "train.log", "resuming")
    assert "nothing to submit" in run("job", "--cluster=local")
    for name in ("metrics.jsonl", "predictions/test.npz"):
        assert (tmp_path / "job" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def accepted(words, monkeypatch):
    """Whether launch.py knows every option among the words of a command."""
    monkeypatch.setattr(sys, "argv", ["launch.py", *words])
    return all(word.startswith("--config.") for word in launch.arguments()[1])


def test_the_sbatch_script_is_sound(monkeypatch):
    path = CLUSTER / "sbatch.sh"
    subprocess.run(["bash", "-n", path], check=True)
    text = path.read_text()
    found = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", text, re.M))
    assert found["signal"] == "USR1@120" and found["requeue"] == ""
    assert found["ntasks-per-node"] == found["gpus-per-node"]  # what JAX expects of SLURM
    (command,) = re.findall(r"^srun python launch.py (.*)$", text, re.M)
    assert accepted(shlex.split(command.replace('"$@"', "--config.seed=1")), monkeypatch)


@pytest.mark.parametrize(
    "state, code, again", [("interrupted", 0, True), ("finished", 0, False), ("diverged", 4, False)]
)
def test_the_sbatch_script_queues_again_what_has_saved(tmp_path, state, code, again):
    """With stand-ins for srun and scontrol, as on a node."""
    files.write_json(tmp_path / "run" / "status.json", {"state": state})
    for name, does in (("srun", f"exit {code}"), ("scontrol", f"touch {tmp_path}/$1-$2")):
        (tmp_path / name).write_text(f"#!/bin/bash\n{does}\n")
        (tmp_path / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "12"}
    given = [CLUSTER / "sbatch.sh", CONFIG, tmp_path / "run", "--config.seed=1"]
    assert subprocess.run(["bash", *given], env=env).returncode == code
    assert (tmp_path / "requeue-12").exists() == again


def test_the_manifest_of_kubernetes_is_sound(monkeypatch):
    service, job = yaml.safe_load_all((CLUSTER / "job.yaml").read_text())
    pod, name = job["spec"]["template"]["spec"], job["metadata"]["name"]
    (train,) = pod["containers"]
    assert job["spec"]["completionMode"] == "Indexed" and pod["restartPolicy"] == "Never"
    assert job["spec"]["completions"] == job["spec"]["parallelism"]
    assert pod["terminationGracePeriodSeconds"] >= 60
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert service["metadata"]["name"] == pod["subdomain"]
    rules = {rule["action"]: rule for rule in job["spec"]["podFailurePolicy"]["rules"]}
    named = [
        r["onExitCodes"] for r in job["spec"]["podFailurePolicy"]["rules"] if "onExitCodes" in r
    ]
    assert set(rules) == {"FailJob", "Ignore"} and all(r["containerName"] == "train" for r in named)
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in train["volumeMounts"]} == volumes
    (line,) = train["args"]
    assert line.startswith("exec python launch.py ")  # no shell between SIGTERM and the run
    words = shlex.split(line.replace("$JOB_COMPLETION_INDEX", "1"))[3:]
    assert accepted(words, monkeypatch)
    options = launch.arguments()[0]
    assert options.processes == str(job["spec"]["completions"]) and options.process_id == 1
    host, _, port = options.coordinator.partition(":")
    assert host == f"{name}-0.{pod['subdomain']}"
    assert int(port) == train["ports"][0]["containerPort"] == service["spec"]["ports"][0]["port"]
    mounts = {mount["mountPath"] for mount in train["volumeMounts"]}
    assert options.workdir.startswith("/runs/") and {"/runs", "/cache"} <= mounts


def test_the_dockerfile_is_sound():
    text = (CLUSTER / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and line[0] != "#"]
    known = {"FROM", "ARG", "RUN", "WORKDIR", "COPY", "ENV", "VOLUME", "USER"}
    assert {name for name, _ in lines} <= known | {"STOPSIGNAL", "ENTRYPOINT", "CMD"}
    assert lines[0][0] == "FROM" and lines[0][1].startswith("python:3.")
    for name, rest in lines:
        for source in rest.split()[:-1] if name == "COPY" else ():
            assert (ROOT / source).exists(), f"COPY {source}"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert set(re.findall(r"EXTRA=(\w+)", text)) <= extras.keys()
    assert dict(lines)["USER"] == "lowlabel" and "LOWLABEL_CACHE=/cache" in dict(lines)["ENV"]
    assert yaml.safe_load(dict(lines)["VOLUME"]) == ["/cache", "/runs"]
    assert yaml.safe_load(dict(lines)["ENTRYPOINT"]) == ["python", "launch.py"]  # no shell
