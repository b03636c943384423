"""How much a file may ask for: what it declares is compared before anything is allocated."""

import os
from pathlib import Path

from lowlabel_jax.core.errors import UserError

GIB = 2**30
DEFLATE = 1040  # a byte of .zip or .gz becomes no more than 1032


def refuse_large(path: str | Path, size: int, most_gib: float) -> None:
    """Raise UserError where an array file declares more than `most_gib`, 0: half of the memory.

    size: bytes once unpacked.
    """
    most = int(most_gib * GIB) or memory() // 2
    if size > most:
        limit = f"{most_gib:g} GiB" if most_gib else f"{most / GIB:.1f} GiB, half of the memory"
        raise UserError(
            f"{path} declares {size / GIB:.1f} GiB of arrays, more than {limit}.",
            "if it is meant to be that large: --config.source.most_gib="
            f"{size // GIB + 1}; else it is not the file you think.",
        )


def memory() -> int:
    """The machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
