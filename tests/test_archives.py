"""Archives: what was packed is what comes out, and a hostile one leaves nothing anywhere."""

import io
import random
import stat
import struct
import tarfile
import time
import zipfile
import zlib

import pytest

from lowlabel_jax.core import archives
from lowlabel_jax.core.archives import unpack
from lowlabel_jax.core.errors import UserError

FILES = {
    "top/train/cats/1.jpg": b"one",
    "top/train/cats/žluťoučký 猫 🐈.jpg": b"two" * 1000,
    "top/train/dogs/ two  spaces .jpg": b"",
    "top/train/dogs/new\nline.jpg": b"\x00\xff",
}
GIGABYTE = 2**30


def entry(name, data=b"", kind=tarfile.REGTYPE, target=""):
    """One member: (name, bytes, tarfile's type, what a link leads to)."""
    return name, data, kind, target


def tarred(path, members, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, data, kind, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def zipped(path, members):
    """The same as a zip: its links and devices are files with the mode of one."""
    modes = {
        tarfile.SYMTYPE: stat.S_IFLNK,
        tarfile.CHRTYPE: stat.S_IFCHR,
        tarfile.FIFOTYPE: stat.S_IFIFO,
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data, kind, target in members:
            info = zipfile.ZipInfo("placeholder")
            info.filename = name
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (modes.get(kind, stat.S_IFREG) | 0o644) << 16
            file.writestr(info, target or data)
    return path


def packed(folder, suffix, members):
    """An archive of the kind that a suffix names."""
    path = folder / f"photos{suffix}"
    if suffix == ".zip":
        return zipped(path, members)
    compression = {".tgz": "gz", ".txz": "xz", ".tbz2": "bz2"}.get(suffix, suffix.split(".")[-1])
    return tarred(path, members, "w" if suffix == ".tar" else f"w:{compression}")


def below(folder):
    """Every file below a folder and its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def place(tmp_path):
    """Where to unpack: a folder in an otherwise empty one, which is itself in another."""
    return tmp_path / "outer" / "cache" / "unpacked"


def nothing_left(place):
    """Whether an archive has written nothing: neither below the cache nor around it."""
    return not list(place.parent.iterdir()) and list(place.parent.parent.iterdir()) == [
        place.parent
    ]


@pytest.mark.parametrize("suffix", [*archives.SUFFIXES, ".ZIP", ".TAR.GZ"])
def test_what_was_packed_comes_out(tmp_path, place, suffix):
    made = packed(tmp_path, suffix.lower(), [entry(*file) for file in FILES.items()])
    made = made.rename(tmp_path / f"photos{suffix}")
    assert archives.is_archive(made)
    assert unpack(made, place) == place
    assert below(place) == FILES
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_what_was_unpacked_is_not_unpacked_again(tmp_path, place):
    made = packed(tmp_path, ".zip", [entry("a.jpg", b"one")])
    unpack(made, place)
    (place / "a.jpg").write_bytes(b"kept")
    made.unlink()
    assert below(unpack(made, place)) == {"a.jpg": b"kept"}


def test_of_two_processes_with_one_archive_the_quicker_is_believed(tmp_path, place, monkeypatch):
    made = packed(tmp_path, ".tar", [entry("a.jpg", b"slower")])
    slower = archives._unpack

    def overtaken(archive, folder, *most):
        slower(archive, folder, *most)
        place.mkdir()
        (place / "a.jpg").write_bytes(b"quicker")

    monkeypatch.setattr(archives, "_unpack", overtaken)
    assert below(unpack(made, place)) == {"a.jpg": b"quicker"}
    assert [path.name for path in place.parent.iterdir()] == [place.name]


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_links_that_stay_inside_are_kept(tmp_path, place, suffix):
    members = [
        entry("a/here.jpg", kind=tarfile.SYMTYPE, target="../b/1.jpg"),
        entry("c", kind=tarfile.SYMTYPE, target="b"),
        entry("b/1.jpg", b"one"),
    ]
    if suffix == ".tar":
        members.append(entry("b/2.jpg", kind=tarfile.LNKTYPE, target="b/1.jpg"))
    found = unpack(packed(tmp_path, suffix, members), place)
    assert (found / "a/here.jpg").is_symlink() and (found / "a/here.jpg").read_bytes() == b"one"
    assert (found / "c/1.jpg").read_bytes() == b"one"
    if suffix == ".tar":
        assert (found / "b/2.jpg").read_bytes() == b"one"


LINK, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE
HOSTILE = [  # (members, the one to be named)
    ([entry("../evil.jpg", b"x")], "../evil.jpg"),
    ([entry("a/../../evil.jpg", b"x")], "a/../../evil.jpg"),
    ([entry("/tmp/lowlabel_evil.jpg", b"x")], "/tmp/lowlabel_evil.jpg"),
    ([entry("C:/evil.jpg", b"x")], "C:/evil.jpg"),
    ([entry("evil", kind=LINK, target="/etc/passwd")], "evil"),
    ([entry("a/evil", kind=LINK, target="../../x")], "a/evil"),
    ([entry("evil", kind=LINK, target="nowhere")], "evil"),
    ([entry("evil", kind=LINK, target="loop"), entry("loop", kind=LINK, target="evil")], "evil"),
    (  # each is inside as text, and outside once the first is there
        [
            entry("d/x", b"x"),
            entry("d/up", kind=LINK, target=".."),
            entry("evil", kind=LINK, target="d/up/../x"),
            entry("x/y", b"x"),
        ],
        "evil",
    ),
    (
        [
            entry("a/x", b"x"),
            entry("b", kind=LINK, target="a"),
            entry("b/evil", kind=LINK, target="x"),
        ],
        "b/evil",
    ),
    ([entry("evil", kind=tarfile.CHRTYPE)], "evil"),
    ([entry("evil", kind=tarfile.FIFOTYPE)], "evil"),
]
HOSTILE_TAR = [
    ([entry("evil", kind=HARD, target="/etc/passwd")], "evil"),
    ([entry("evil", kind=HARD, target="../x")], "evil"),
    ([entry("s", kind=LINK, target="/etc"), entry("evil", kind=HARD, target="s/passwd")], "s"),
]


@pytest.mark.parametrize(
    "suffix, members, evil",
    [(".zip", *case) for case in HOSTILE] + [(".tar.gz", *case) for case in HOSTILE + HOSTILE_TAR],
)
def test_a_member_that_leads_outside_or_is_no_file_is_named(tmp_path, place, suffix, members, evil):
    made = packed(tmp_path, suffix, [entry("good.jpg", b"x"), *members])
    with pytest.raises(UserError) as caught:
        unpack(made, place)
    assert str(made) in caught.value.message and f"the member {evil!r}" in caught.value.message
    assert "unpack it yourself and give the folder" in caught.value.hint
    assert nothing_left(place)


@pytest.mark.parametrize("up", range(1, 7))
def test_a_link_to_a_file_that_is_there_outside_is_refused(tmp_path, place, up):
    place.parent.mkdir(parents=True)
    for folder in (tmp_path, place.parent.parent, place.parent):
        (folder / "secret").write_text("x")
    made = packed(tmp_path, ".zip", [entry("evil", kind=LINK, target="../" * up + "secret")])
    with pytest.raises(UserError, match="the member 'evil' is a link"):
        unpack(made, place)
    assert [path.name for path in place.parent.iterdir()] == ["secret"]


def test_a_zip_of_windows_has_folders_and_no_way_out(tmp_path, place):
    good = zipped(tmp_path / "a.zip", [entry("cats\\1.jpg", b"one")])
    assert below(unpack(good, place)) == {"cats/1.jpg": b"one"}
    bad = zipped(tmp_path / "b.zip", [entry("..\\..\\1.jpg", b"one")])
    with pytest.raises(UserError, match=r"the member '\.\./\.\./1.jpg' leads outside"):
        unpack(bad, place.with_name("other"))


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_files_are_counted_and_so_are_their_bytes(tmp_path, place, suffix):
    made = packed(tmp_path, suffix, [entry(f"{n}.jpg", bytes(100)) for n in range(10)])
    with pytest.raises(UserError, match="the member '9.jpg' is one more than 9 members"):
        unpack(made, place, most_members=9)
    with pytest.raises(UserError, match="the member '9.jpg' exceeds 999 bytes"):
        unpack(made, place, most_bytes=999)
    assert nothing_left(place)
    assert len(below(unpack(made, place, most_bytes=1000, most_members=10))) == 10


def zeros(size, before=b""):
    """Deflated: some bytes and then a multiple of 1 MiB of zeros, made in no time."""
    packer = zlib.compressobj(9, wbits=-15)
    head = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * (size // 2**20) + packer.flush()


def bomb_zip(path, stated):
    """A zip of ten gigabytes of zeros, whose headers state another size."""
    data = zeros(10 * GIGABYTE)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("bomb.jpg", data)
    whole = bytearray(path.read_bytes())
    for start, method, size in ((0, 8, 22), (whole.rindex(b"PK\1\2"), 10, 24)):
        struct.pack_into("<H", whole, start + method, zipfile.ZIP_DEFLATED)
        struct.pack_into("<I", whole, start + size, stated)
    path.write_bytes(whole)
    return path


def bomb_tar(path, kind):
    """A tar.gz whose only member has ten gigabytes of zeros."""
    info = tarfile.TarInfo("bomb.jpg")
    info.type, info.size = kind, 10 * GIGABYTE
    gzip_header = b"\x1f\x8b\x08" + bytes(7)
    path.write_bytes(gzip_header + zeros(10 * GIGABYTE, info.tobuf(tarfile.GNU_FORMAT)))
    return path


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda p: bomb_zip(p / "a.zip", 4_000_000_000), "'bomb.jpg' exceeds 10,485,760 bytes"),
        (lambda p: bomb_zip(p / "a.zip", 5), "cannot be unpacked .*'bomb.jpg'"),  # a lie: CRC
        (lambda p: bomb_tar(p / "a.tgz", tarfile.REGTYPE), "'bomb.jpg' exceeds 10,485,760 bytes"),
        (lambda p: bomb_tar(p / "a.tgz", tarfile.XHDTYPE), "a header of 10,737,418,240 bytes"),
        (lambda p: bomb_tar(p / "a.tgz", tarfile.GNUTYPE_LONGNAME), "a header of 10,737,418,240"),
    ],
)
def test_ten_gigabytes_of_zeros_are_not_written(tmp_path, place, make, message):
    made = make(tmp_path)
    assert made.stat().st_size < 20e6
    start = time.process_time()
    with pytest.raises(UserError, match=message):
        unpack(made, place, most_bytes=10 * 2**20)
    assert time.process_time() - start < 5  # all of it takes 20 s to read
    assert nothing_left(place)


def test_without_a_cap_half_of_the_free_disk_is_one(tmp_path, place, monkeypatch):
    made = packed(tmp_path, ".zip", [entry("a.jpg", bytes(1000))])
    usage = type("Usage", (), {"free": 1998})
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="exceeds 999 bytes"):
        unpack(made, place)
    usage.free = 2000
    unpack(made, place)


def test_no_end_of_zeros_is_read_behind_the_last_member(tmp_path, place):
    info = tarfile.TarInfo("a.jpg")
    made = tmp_path / "a.tgz"
    made.write_bytes(b"\x1f\x8b\x08" + bytes(7) + zeros(10 * GIGABYTE, info.tobuf()))
    start = time.process_time()
    with pytest.raises(UserError, match="more than 64 MiB after its end"):
        unpack(made, place)
    assert time.process_time() - start < 5


def damaged(kind, whole):
    """Bytes of an archive that came to harm."""
    if kind == "cut":
        return whole[: len(whole) // 2]
    if kind == "flipped":
        middle = len(whole) // 2
        return (
            whole[:middle]
            + bytes(255 - b for b in whole[middle : middle + 8])
            + whole[middle + 8 :]
        )
    return {"empty": b"", "text": b"<!DOCTYPE html>" * 100}[kind]


@pytest.mark.parametrize("kind", ["cut", "flipped", "empty", "text"])
@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.xz", ".tar.bz2"])
def test_a_damaged_archive_is_said_and_leaves_nothing(tmp_path, place, suffix, kind):
    noise, size = random.Random(0), 512 if suffix == ".tar" else 5000
    members = [entry(f"{n}.jpg", bytes(noise.choices(b"some text", k=size))) for n in "abc"]
    made = packed(tmp_path, suffix, members)
    whole = made.read_bytes()
    if suffix == ".tar":  # it has no checksum but its headers': hit the second one
        whole = whole[:3072]
        kept = {"cut": whole[:1024], "flipped": whole[:1030] + b"\xff" * 8 + whole[1038:]}
        made.write_bytes(kept.get(kind, b"" if kind == "empty" else damaged(kind, whole)))
    else:
        made.write_bytes(damaged(kind, whole))
    with pytest.raises(UserError, match="cannot be unpacked") as caught:
        unpack(made, place)
    assert str(made) in caught.value.message and "fetch it again" in caught.value.hint
    assert nothing_left(place)


def test_a_zip_with_a_password_is_said(tmp_path, place):
    made = packed(tmp_path, ".zip", [entry("a.jpg", b"x")])
    whole = bytearray(made.read_bytes())
    for start, flags in ((0, 6), (whole.rindex(b"PK\1\2"), 8)):
        whole[start + flags] |= 1
    made.write_bytes(whole)
    with pytest.raises(UserError, match="encrypted"):
        unpack(made, place)
    assert nothing_left(place)
