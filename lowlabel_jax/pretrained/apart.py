"""Keras' files, read by a process of its own: libhdf5 hangs or crashes on some broken files.

The process is given the bytes, and no more memory and time than reading them takes; what it hands
back are plain tensors in the format of safetensors, or one line that says why not.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from lowlabel_jax.core.errors import UserError
from lowlabel_jax.pretrained.zips import Held

SECONDS = 60.0  # for any file; reading one of 500 MiB takes two or three
MEMORY = 2 * 2**30  # bytes that Python and its libraries may map, beside the file's own
REFUSED = 3  # the exit code that says so
CODE = "from lowlabel_jax.pretrained import apart; apart.child()"
ROOT = str(Path(__file__).parents[2])


def keras(data: bytes, most: int) -> Held:
    """The tensors of a Keras file by "layer/variable"; never more than its own bytes.

    Raises UserError.
    """
    import safetensors.numpy

    paths = os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", CODE], input=data, capture_output=True, env=environment,
            timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UserError(f"libhdf5 was not done with it after {SECONDS:g} s.") from None
    if done.returncode == REFUSED:
        raise UserError(**json.loads(done.stdout))
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise UserError(f"libhdf5 gave up on it ({''.join(last) or done.returncode}).")
    return Held(dict(safetensors.numpy.load(done.stdout)), {}, ())


def child() -> None:
    """Read a Keras file from stdin; write its tensors, or what is wrong with it, to stdout."""
    import safetensors.numpy

    from lowlabel_jax.pretrained import keras_h5

    data = sys.stdin.buffer.read()
    most = MEMORY + 6 * len(data)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        sys.stdout.buffer.write(safetensors.numpy.save(keras_h5.tensors(data)))
    except UserError as error:
        print(json.dumps({"message": error.message, "hint": error.hint}))
        sys.exit(REFUSED)
