"""Archives of files unpacked whole or not at all, and never outside the folder that was asked for.

An archive may come from anywhere. What it says of itself is not believed: names are looked at,
bytes are counted as they are written, and links are made last, when nothing is written any more.
"""

import lzma
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from lowlabel_jax.core import archive_members, files
from lowlabel_jax.core.archive_members import AT_ONCE, Member
from lowlabel_jax.core.errors import UserError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
MOST_BYTES = 64 * 2**30  # unpacked; half of the free disk where that is less
MOST_MEMBERS = 2_000_000
HINT = "if you trust it, unpack it yourself and give the folder instead."
BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,  # a zip with a password
    NotImplementedError,  # a compression that Python does not know
    ValueError,
)


def is_archive(path: Path) -> bool:
    """Whether a file is called as archives are that `unpack` knows."""
    return path.name.lower().endswith(SUFFIXES)


def unpack(
    archive: Path, folder: Path, *, most_bytes: int = 0, most_members: int = MOST_MEMBERS
) -> Path:
    """The folder with all that a .zip or .tar holds; unpacked beside it first, then renamed.

    A folder that is there already was unpacked before and is returned as it is.
    most_bytes: of all files together; 0: 64 GiB, or half of the free disk where that is less.
    Raises UserError naming the member that leads outside, is neither file, folder nor link, or is
    one too many, and where the archive is damaged. Nothing is left behind then.
    """
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        most_bytes = most_bytes or min(MOST_BYTES, shutil.disk_usage(folder.parent).free // 2)
        with tempfile.TemporaryDirectory(suffix=".tmp", dir=folder.parent) as temporary:
            whole = Path(temporary) / folder.name
            whole.mkdir()
            _unpack(archive, whole, most_bytes, most_members)
            _publish(whole, folder)
    except tarfile.FilterError as error:
        raise _refusal(archive, error.tarinfo.name, f"is refused: {error}") from None
    except BROKEN as error:
        hint = "fetch it again, or unpack it yourself and give the folder instead."
        raise UserError(f"{archive} cannot be unpacked ({error}).", hint) from None
    return folder


def _publish(temporary: Path, folder: Path) -> None:
    """Rename, unless another process was quicker with the same archive."""
    try:
        os.rename(temporary, folder)
    except OSError:
        if not folder.is_dir():
            raise
    files.sync_directory(folder.parent)


def _unpack(archive: Path, folder: Path, most_bytes: int, most_members: int) -> None:
    is_zip = archive.name.lower().endswith(".zip")
    members = archive_members.of_zip if is_zip else archive_members.of_tar
    links, left = [], most_bytes
    for count, member in enumerate(members(archive, folder), 1):
        if count > most_members:
            raise _refusal(archive, member.name, f"is one more than {most_members:,} members")
        path = _below(archive, folder, member.name)
        if member.kind == "device":
            raise _refusal(archive, member.name, "is neither file, folder nor link")
        if member.kind == "folder":
            path.mkdir(parents=True, exist_ok=True)
        elif member.kind == "file":
            left -= _write(member, path, left)
            if left < 0:
                raise _refusal(archive, member.name, f"exceeds {most_bytes:,} bytes for all files")
        else:
            links.append(member)
    _link(archive, folder, links)


def _write(member: Member, path: Path, most: int) -> int:
    """Write a file; how many bytes it has, or more than `most` where it was not written on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with member.open() as stream, open(path, "wb") as file:
        while size <= most and (block := stream.read(AT_ONCE)):
            size += file.write(block)
    return size


def _link(archive: Path, folder: Path, links: list[Member]) -> None:
    """Make the links, none of them below another, then look where each one leads."""
    symbolic = {PurePosixPath(link.name): link for link in links if link.kind == "symbolic link"}
    for link in (link for link in links if link.kind == "hard link"):  # while there is no other
        path = folder / link.name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(folder / link.target, path, follow_symlinks=False)  # a tar's filter has seen it
    for name, link in symbolic.items():
        if not symbolic.keys().isdisjoint(name.parents):
            raise _refusal(archive, link.name, "lies below a link")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(link.target, folder / name)
    home = folder.resolve()
    for name, link in symbolic.items():
        try:
            inside = (folder / name).resolve(strict=True).is_relative_to(home)
        except (OSError, RuntimeError):  # the latter: a loop
            raise _refusal(archive, link.name, "is a link to what is not there") from None
        if not inside:
            raise _refusal(archive, link.name, f"is a link that leads outside: {link.target!r}")


def _below(archive: Path, folder: Path, name: str) -> Path:
    """Where a name lies in the folder. Raises UserError where it would not lie in it."""
    absolute = name.startswith("/") or re.match(r"[A-Za-z]:[/\\]", name)
    if absolute or ".." in name.split("/") or "\0" in name:
        raise _refusal(archive, name, "leads outside")
    return folder / name


def _refusal(archive: Path, member: str, why: str) -> UserError:
    return UserError(f"{archive}: the member {member!r} {why}.", HINT)
