"""Weight files by name: a path is itself, hf://owner/repo/file comes from the Hugging Face hub.

The network is reached for an hf:// name only, and only where the file is not in huggingface_hub's
own cache (HF_HOME) or has changed since.
"""

import re
from pathlib import Path

from lowlabel_jax.core.errors import UserError, nearest
from lowlabel_jax.pretrained import catalogue, reading

WORD = r"\w[\w.-]*"  # no "..", and nothing that means more to a server or a disk
SPEC = re.compile(rf"hf://({WORD}/{WORD})(?:@({WORD}))?/({WORD}(?:/{WORD})*)")
SHAPE = "hf://owner/repo/file, or hf://owner/repo@revision/file"


def fetch(spec: str) -> Path:
    """Where the file lies on this machine, fetched if its name begins with hf://.

    Raises UserError, one line with what to type, where it is not to be had.
    """
    if not spec.startswith("hf://"):
        return _local(spec)
    match = SPEC.fullmatch(spec)
    if not match:
        raise UserError(f"{spec!r} is no file of the hub.", f"write {SHAPE}.")
    repository, revision, file = match.groups()
    reading.reader(Path(file))
    return _fetched(spec, repository, revision, file)


def _local(spec: str) -> Path:
    """A path. Raises UserError where no file is there, with where to get one that is known."""
    if Path(spec).exists():
        return Path(spec)
    for one in catalogue.ALL:
        if spec == one.name and one.file.startswith("hf://"):
            raise UserError(f"there is no file {spec!r}.", f"from the hub it is {one.file}.")
        if spec == one.name or Path(spec).name == one.file:
            raise UserError(
                f"there is no file {spec!r}.", f"{one.file} is from {one.source}; give its path."
            )
    close = nearest(spec, [one.name for one in catalogue.ALL])
    raise UserError(f"there is no file {spec!r}.{close}", f"give a path, or {SHAPE}.")


def _fetched(spec: str, repository: str, revision: str | None, file: str) -> Path:
    """The path of a hub's file in huggingface_hub's cache."""
    try:
        import huggingface_hub as hub
        from huggingface_hub import errors
    except ImportError:
        raise UserError(
            f"{spec} needs huggingface_hub, which is not installed.",
            'pip install "lowlabel_jax[hub]"; or give the path of a file.',
        ) from None
    page = f"https://huggingface.co/{repository}"
    at = f" at {revision}" if revision else ""
    try:
        return Path(hub.hf_hub_download(repository, file, revision=revision))
    except errors.GatedRepoError:
        wrong = f"{repository} gives its files only to those whom its owner let in."
        way = f"ask at {page}, then type: hf auth login"
    except errors.RepositoryNotFoundError:
        wrong = f"the hub has no repository {repository}, or it is private."
        way = "check how it is spelled; if it is private, type: hf auth login"
    except errors.RevisionNotFoundError:
        wrong = f"{repository} has no revision {revision!r}."
        way = f"its revisions: {page}/commits"
    except errors.LocalEntryNotFoundError:
        wrong = f"{spec} is not in the cache, and the hub is out of reach (offline?)."
        way = f"type, where there is a connection: hf download {repository} {file}"
    except errors.EntryNotFoundError:
        wrong = f"{repository}{at} has no file {file!r}."
        way = f"its files: {page}/tree/{revision or 'main'}"
    except (OSError, ValueError, errors.RevisionResolutionError) as error:
        wrong = f"{spec} could not be fetched ({' '.join(str(error).split())[:160]})."
        way = "try again later, or give the path of a file."
    raise UserError(wrong, way)
