"""Writing that survives a crash: whole files or none, flushed lines, and a lock per run."""

import contextlib
import datetime
import fcntl
import hashlib
import io
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lowlabel_jax.core.errors import FULL, Busy, UserError


def cache_directory() -> Path:
    """Where what can be made again is kept between runs: LOWLABEL_CACHE, else the user's cache.

    Compiled programs among it are code, so it must be nobody else's to write.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("LOWLABEL_CACHE") or Path(home) / "lowlabel_jax")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or nothing: beside it first, flushed to the disk, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def is_full(error: OSError) -> bool:
    """Whether an error says that the disk, or the user's share of it, is full."""
    return error.errno in FULL


def write_text(path: Path, text: str) -> None:
    """Write a whole text file or nothing, as UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_npz(path: Path, **arrays: Any) -> None:
    """Write numpy arrays as a whole .npz file or nothing."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_bytes(path, buffer.getvalue())


def write_json(path: Path, value: Any) -> None:
    """Write a value as readable JSON, whole or not at all. NaN is refused: JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises UserError naming a missing or broken file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no file {path}.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON: {error}.") from None


def without_formula(path: str) -> str:
    """A path as a cell of a CSV: "./=x" is the same file as "=x", and no spreadsheet's formula."""
    return f"./{path}" if path.startswith(tuple("=+-@\t\r")) else path


def without_home(text: str) -> str:
    """Text for pages that go to others: paths below the user's home begin with ~."""
    home = str(Path.home()).rstrip("/")
    return re.sub(rf"(?<![\w/.~-]){re.escape(home)}(?![\w.-])", "~", text) if home else text


def sync_directory(path: Path) -> None:
    """Make renames inside a directory durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def now() -> str:
    """The local time to the second, with its offset, as ISO 8601."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold a directory for this process alone. The kernel frees it when the process dies.

    Raises Busy, naming the holder's pid, host and start, where another process holds it.
    """
    with open(directory / ".lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise Busy(
                f"{directory} is in use by {holder}.", "wait for it, or give another --workdir."
            ) from None
        file.truncate(0)
        file.write(f"pid {os.getpid()} on {socket.gethostname()} since {now()}")
        file.flush()
        yield
