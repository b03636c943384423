"""What lies in a tar or a zip, one member after the other, in one form for both."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

AT_ONCE = 2**20  # bytes read between two looks at how many they are
MOST_PADDING = 64  # MiB behind the last member of a tar
LONGEST_HEADER = 2**20  # bytes of a tar's extended header, which Python reads into memory whole
EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class Member(NamedTuple):
    """One entry of an archive."""

    name: str
    kind: str  # "file", "folder", "symbolic link", "hard link" or "device"
    target: str = ""  # of a link
    open: Callable[[], IO[bytes]] = io.BytesIO  # of a file


def of_tar(archive: Path, folder: Path) -> Iterator[Member]:
    """The members of a tar, packed or not, that is to be unpacked into a folder.

    Raises tarfile.TarError and what decompression raises where it is damaged or not to be trusted.
    """
    with tarfile.open(archive, "r:*", tarinfo=_Header) as tar:
        while info := tar.next():
            tarfile.data_filter(info, str(folder))
            if info.isreg():
                yield Member(info.name, "file", open=_opener(tar.extractfile, info))
            elif info.isdir():
                yield Member(info.name, "folder")
            elif info.issym() or info.islnk():
                kind = "symbolic link" if info.issym() else "hard link"
                yield Member(info.name, kind, info.linkname)
            else:
                yield Member(info.name, "device")
            tar.members.clear()  # type: ignore[attr-defined]  # it would remember two million
        for _ in range(MOST_PADDING):  # to the end of the stream, where its checksum is
            if not tar.fileobj or not tar.fileobj.read(AT_ONCE):
                return
        raise tarfile.ReadError(f"more than {MOST_PADDING} MiB after its end")


class _Header(tarfile.TarInfo):
    """A tar's header; an extended one of gigabytes or a broken one is refused, not passed over."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError:
            if buf != bytes(tarfile.BLOCKSIZE):  # else it is the end; Python takes all for it
                raise tarfile.ReadError("it is damaged or cut short") from None
            raise
        if header.type in EXTENDED and header.size > LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {header.size:,} bytes")
        return header


def of_zip(archive: Path, folder: Path) -> Iterator[Member]:
    """The members of a zip. Raises zipfile.BadZipFile where it is damaged."""
    with zipfile.ZipFile(archive) as zipped:
        for info in zipped.infolist():
            name = info.orig_filename.replace("\\", "/")  # as some programs on Windows write it
            form = stat.S_IFMT(info.external_attr >> 16)
            if name.endswith("/") or stat.S_ISDIR(form):
                yield Member(name, "folder")
            elif stat.S_ISLNK(form):
                with zipped.open(info) as stream:
                    target = stream.read(LONGEST_HEADER).decode("utf-8", "surrogateescape")
                yield Member(name, "symbolic link", target)
            elif form in (0, stat.S_IFREG):
                yield Member(name, "file", open=_opener(zipped.open, info))
            else:
                yield Member(name, "device")


def _opener(extract: Callable, info: object) -> Callable[[], IO[bytes]]:
    return lambda: extract(info)
