"""Tables of images: every way a CSV is written, and every row that is wrong with its line."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from lowlabel_jax.configuration import keys
from lowlabel_jax.core.errors import UserError
from lowlabel_jax.data.source import BadData
from lowlabel_jax.sources.table import list_table, table
from tests import images

ROOT = Path(__file__).parent.parent
REAL = Path(os.environ.get("LOWLABEL_TEST_DATA", ROOT.parent / "shared" / "data"))
COLUMNS = ("id", "label")


def image(**changed):
    """config["image"], small."""
    return {**keys.base().image.to_dict(), "size": 8, "cache": False, **changed}


def written(folder, text, files=("a.jpg", "b.jpg", "c.jpg", "d.png")):
    """labels.csv with this text (or bytes), beside empty files."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    content = text if isinstance(text, bytes) else text.encode()
    (folder / "labels.csv").write_bytes(content)
    return folder / "labels.csv"


def listed(folder, text, wanted=COLUMNS, delimiter="", allow_unlabelled=False, **more):
    file = written(folder, text, **more)
    return list_table(file, folder, wanted, delimiter, allow_unlabelled)


def pairs(listing, name="train"):
    """(id, label's name) of a set, in order."""
    label = [listing.class_names[k] if k >= 0 else None for k in listing.labels[name]]
    return list(zip(listing.names.get(name, ()), label, strict=True))


PLAIN = [("a.jpg", "cat"), ("b.jpg", "dog"), ("c.jpg", "cat"), ("d.png", "dog")]
ROWS = "id,label\na.jpg,cat\nb.jpg,dog\nc.jpg,cat\nd.png,dog\n"


@pytest.mark.parametrize(
    "text",
    [
        ROWS,
        ROWS.rstrip("\n"),
        ROWS + "\n\n",
        ROWS + "  \n",
        "\n\n" + ROWS,
        ROWS.replace("\n", "\n\n"),
        "\ufeff" + ROWS,
        ROWS.replace("\n", "\r\n"),
        ROWS.replace("\n", "\r"),
        "\ufeff" + ROWS.replace("\n", "\r\n").replace(",", ";"),
        ROWS.replace(",", ";"),
        ROWS.replace(",", "\t"),
        ROWS.replace("cat", '"cat"').replace("id", '"id"'),
        "label,id\ncat,a.jpg\ndog,b.jpg\ncat,c.jpg\ndog,d.png\n",
        'x,id,label\n"one, two;\nthree",a.jpg,cat\n"a ""word""",b.jpg,dog\n,c.jpg,cat\n,d.png,dog',
        "note;id;label\n1,5,7;a.jpg;cat\n,,,;b.jpg;dog\n;c.jpg;cat\n;d.png;dog",
        "id;label;a,b,c,d\na.jpg;cat;,,,\nb.jpg;dog;\nc.jpg;cat;x\nd.png;dog;1,5",
        '"a;note, of; semicolons",id,label\n;,a.jpg,cat\n,b.jpg,dog\n,c.jpg,cat\n,d.png,dog',
    ],
)
def test_a_table_is_read_as_programs_and_people_write_it(tmp_path, text):
    found = listed(tmp_path, text)
    assert pairs(found) == PLAIN and found.class_names == ("cat", "dog") and not found.problems
    assert found.paths == {"train": ["a.jpg", "b.jpg", "c.jpg", "d.png"]}
    assert found.labels["train"].dtype == np.int32


def test_another_delimiter_can_be_said(tmp_path):
    text = ROWS.replace(",", "|")
    assert pairs(listed(tmp_path, text, delimiter="|")) == PLAIN
    with pytest.raises(UserError, match=r"column 'id' not found; columns are \['id|label'\]"):
        listed(tmp_path, text)
    with pytest.raises(UserError, match="delimiter '::' is not one character") as caught:
        listed(tmp_path, text, delimiter="::")
    assert "--config.source.delimiter" in caught.value.hint


def test_classes_are_sorted_as_text(tmp_path):
    found = listed(tmp_path, "id,label\na.jpg,10\nb.jpg,9\nc.jpg,ž\nd.png,Z\n")
    assert found.class_names == ("10", "9", "Z", "ž") and found.labels["train"].tolist() == [
        0,
        1,
        3,
        2,
    ]


def test_the_set_of_each_row_can_be_a_column(tmp_path):
    files = [f"{n}.jpg" for n in range(8)]
    parts = ["train", "test", "Val", " train ", "validation", "TEST", "train", "val"]
    rows = [f"{file},{'xy'[n // 2 % 2]},{parts[n]}" for n, file in enumerate(files)]
    text = "id,label,type\n" + "\n".join(rows)
    found = listed(tmp_path, text, ("id", "label", "type"), files=files)
    assert {name: list(those) for name, those in found.names.items()} == {
        "train": ["0.jpg", "3.jpg", "6.jpg"],
        "validation": ["2.jpg", "4.jpg", "7.jpg"],
        "test": ["1.jpg", "5.jpg"],
    } and [found.labels[name].tolist() for name in found.names] == [[0, 1, 1], [1, 0, 1], [0, 0]]
    assert [p.kind for p in found.problems] == ["classes differ"]
    both = "id,label,type\n0.jpg,x,train\n1.jpg,y,train\n"
    assert set(listed(tmp_path, both, ("id", "label", "type")).paths) == {"train"}


def test_an_id_can_lack_its_extension_and_lie_in_folders(tmp_path):
    files = ["plain", "plain.jpg", "x/y/1.JPG", "x/2.b.png", "two.jpg", "other.txt"]
    text = "id,label\nplain,a\nx/y/1,b\n./x//2.b,a\ntwo,b\nplain.jpg,a\nother.txt,a"
    found = listed(tmp_path, text, files=files)
    assert found.paths["train"] == [
        *("plain", "x/y/1.JPG", "x/2.b.png", "two.jpg", "plain.jpg", "other.txt")
    ]
    assert found.names["train"] == ["plain", "x/y/1", "./x//2.b", "two", "plain.jpg", "other.txt"]


def test_unlabelled_rows_are_taken_when_they_are_allowed(tmp_path):
    text = "id,label\na.jpg,cat\nb.jpg,\nc.jpg, \nd.png,dog\n"
    found = listed(tmp_path, text, allow_unlabelled=True)
    assert pairs(found) == [("a.jpg", "cat"), ("b.jpg", None), ("c.jpg", None), ("d.png", "dog")]
    assert found.labels["train"].tolist() == [0, -1, -1, 1]
    assert sorted(p.line for p in listed(tmp_path, text).problems if p.wrong) == [3, 4]


def test_rows_of_the_set_unlabelled_hide_their_label(tmp_path):
    text = (
        "id,label,type\na.jpg,cat,train\nb.jpg,dog,unlabelled\nc.jpg,,unlabelled\nd.png,dog,train\n"
    )
    found = listed(tmp_path, text, ("id", "label", "type"))
    assert found.labels["train"].tolist() == [0, -1, -1, 1] and not found.problems
    assert set(found.paths) == {"train"}


def fault(rows, line, kind, said, kept=PLAIN, wrong=True, **more):
    """A case: rows below the header, and the problem on a line; `kept`: rows that stay."""
    return rows, line, kind, said, kept, wrong, more


REST = "c.jpg,cat\nd.png,dog\n"
GOOD = ROWS.partition("\n")[2]
FAULTS = {
    "missing file": fault(GOOD + "e.jpg,cat", 6, "missing file", ["'e.jpg'"]),
    "missing without extension": fault(GOOD + "e,cat", 6, "missing file", ["'e'"]),
    "a folder": fault(GOOD + "sub,cat", 6, "missing file", ["'sub'"]),
    "file without a row": fault(
        "a.jpg,cat\nb.jpg,dog\n", None, "files without a row", ["3 images", "'c.jpg', 'd.png'"],
        PLAIN[:2], False,
    ),
    "same label twice": fault(
        GOOD + "a.jpg,cat", 6, "row left out", ["'a.jpg'", "line 2"], wrong=False
    ),
    "same file by two ids": fault(
        GOOD + "./a,cat", 6, "row left out", ["'./a'", "line 2"], wrong=False
    ),
    "two labels": fault(
        GOOD + "a.jpg,dog", 6, "conflicting rows", ["'a.jpg' is 'dog'", "'cat'", "line 2"],
        PLAIN[1:],
    ),
    "label and none": fault(
        GOOD + "a.jpg,", 6, "conflicting rows", ["unlabelled here", "'cat' in train on line 2"],
        PLAIN[1:], allow_unlabelled=True,
    ),
    "empty label": fault(GOOD.replace("b.jpg,dog", "b.jpg,"), 3, "empty label", ["'b.jpg'"],
                         [PLAIN[0], *PLAIN[2:]]),
    "blank label": fault(GOOD.replace("b.jpg,dog", "b.jpg,  "), 3, "empty label", ["'b.jpg'"],
                         [PLAIN[0], *PLAIN[2:]]),
    "empty id": fault(GOOD + ",cat", 6, "empty name", ["no file is named"]),
    "spaces in label": fault(
        GOOD.replace("c.jpg,cat", "c.jpg, cat "), 4, "spaces left out", ["' cat '"], wrong=False
    ),
    "spaces in id": fault(
        GOOD.replace("c.jpg", " c.jpg"), 4, "spaces left out", ["' c.jpg'"], wrong=False
    ),
    "case of a label": fault(
        GOOD.replace("c.jpg,cat", "c.jpg,Cat"), 4, "two spellings of a label",
        ["'cat' (line 2, 1 rows) and 'Cat' (line 4, 1 rows)"], None,
    ),
    "number of a label": fault(
        "a.jpg,1\nb.jpg,0\nc.jpg,1.0\nd.png,1\n", 4, "two spellings of a label",
        ["'1' (line 2, 2 rows) and '1.0' (line 4, 1 rows)"], None,
    ),
    "signs of a label": fault(
        "a.jpg,café\nb.jpg,dog\nc.jpg,cafe\u0301\nd.png,dog\n", 4, "two spellings of a label",
        ["line 2, 1 rows", "line 4"], None,
    ),
    "quotes of a label": fault(
        GOOD.replace("c.jpg,cat", "c.jpg, \"cat\""), 4, "two spellings of a label",
        ["'cat' (line 2", "'\"cat\"' (line 4"], None,
    ),
    "too many fields": fault(GOOD + "a.jpg,cat,x", 6, "wrong number of fields", ["3 fields", "2"]),
    "too few fields": fault(GOOD + "a.jpg", 6, "wrong number of fields", ["1 fields", "2"]),
    "up": fault(GOOD + "../../etc/passwd,cat", 6, "unsafe name", ["'../../etc/passwd'", "'..'"]),
    "up and down": fault(GOOD + "sub/../a.jpg,cat", 6, "unsafe name", ["'sub/../a.jpg'"]),
    "absolute": fault(GOOD + "/etc/passwd,cat", 6, "unsafe name", ["'/etc/passwd' is absolute"]),
    "drive": fault(GOOD + "C:/x.jpg,cat", 6, "unsafe name", ["'C:/x.jpg' is absolute"]),
    "backslash": fault(GOOD + "sub\\a.jpg,cat", 6, "unsafe name", ["backslash", "write /"]),
    "NUL": fault(GOOD + "a\0.jpg,cat", 6, "unsafe name", [r"'a\x00.jpg'", "NUL"]),
    "link outside": fault(GOOD + "out.jpg,cat", 6, "unsafe name", ["'/etc/hostname', outside of"]),
    "folder outside": fault(GOOD + "etc/hostname,cat", 6, "unsafe name", ["outside of"]),
    "ambiguous": fault(
        GOOD + "twice,cat", 6, "ambiguous name", ["'twice' can be 'twice.jpg', 'twice.png'"]
    ),
    "line of a quoted row": fault(
        '"a.jpg","ca\nt"\nb.jpg,dog\n\nc.jpg,dog\ne.jpg,cat\n', 7, "missing file", ["'e.jpg'"],
        [("a.jpg", "ca\nt"), ("b.jpg", "dog"), ("c.jpg", "dog")],
    ),
    "one class": fault("a.jpg,cat\nb.jpg,cat\n", None, "one class only", ["'cat'"], None),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_what_is_wrong_with_a_row_is_said_with_its_line(tmp_path, case):
    rows, line, kind, said, kept, wrong, more = FAULTS[case]
    (tmp_path / "sub").mkdir()
    (tmp_path / "out.jpg").symlink_to("/etc/hostname")
    (tmp_path / "etc").symlink_to("/etc")
    files = ["a.jpg", "b.jpg", "c.jpg", "d.png", "sub/a.jpg"]
    files += ["twice.jpg", "twice.png"] if case == "ambiguous" else []
    found = listed(tmp_path, "id,label\n" + rows, files=files, **more)
    (problem,) = [p for p in found.problems if p.kind == kind]
    assert (problem.line, problem.wrong) == (line, wrong)
    assert all(part in problem.detail for part in said), problem.detail
    assert problem.path == str(tmp_path / "labels.csv")
    if kept is not None:
        assert pairs(found) == kept
    if not wrong:
        assert not any(p.wrong for p in found.problems)
        return
    with pytest.raises(BadData) as caught:
        table(path=str(tmp_path / "labels.csv"), image=image(), **more)
    place = f"labels.csv line {line}: " if line else "labels.csv: "
    assert kind in caught.value.message and place in caught.value.message
    assert len(caught.value.hint.split()) > 4


def test_all_rows_that_are_wrong_are_said_at_once(tmp_path):
    rows = "".join(f"gone{n}.jpg,cat\n" for n in range(12))
    file = written(tmp_path, ROWS + rows + "a.jpg,dog\nb.jpg,\n")
    with pytest.raises(BadData) as caught:
        table(path=str(file), image=image())
    message = caught.value.message
    assert "12 x missing file:" in message and "and 2 more" in message
    assert "line 6: " in message and "line 15: " in message and "line 16" not in message
    assert "conflicting rows" in message and "line 18" in message and "empty label" in message
    assert len(caught.value.problems) == 14
    assert {p.line for p in caught.value.problems} == {*range(6, 18), 18, 19}
    for word in ("--config.source.images", "--config.source.allow_unlabelled=True"):
        assert word in caught.value.hint


SPLIT = ("id", "label", "type")


@pytest.mark.parametrize(
    "rows, line, kind, said",
    [
        (
            "e.jpg,cat,trian",
            6,
            "unknown set",
            "'trian' is none of train, validation (val), test, unlabelled",
        ),
        ("e.jpg,cat,", 6, "unknown set", "'' is none of"),
        ("e.jpg,ant,test", None, "classes differ", "test has 'ant', which train has not"),
        (
            "a.jpg,cat,test",
            6,
            "conflicting rows",
            "'cat' in test here, and 'cat' in train on line 2",
        ),
        ("e.jpg,,val", 6, "unlabelled image to measure on", "'e.jpg' is in validation"),
    ],
)
def test_what_is_wrong_with_the_set_of_a_row_is_said(tmp_path, rows, line, kind, said):
    text = (
        "id,label,type\na.jpg,cat,train\nb.jpg,dog,train\nc.jpg,cat,test\nd.png,dog,test\n" + rows
    )
    files = ["a.jpg", "b.jpg", "c.jpg", "d.png", "e.jpg"]
    found = listed(tmp_path, text, SPLIT, allow_unlabelled=True, files=files)
    (problem,) = [p for p in found.problems if p.kind == kind]
    assert problem.wrong and problem.line == line and said in problem.detail
    assert "e.jpg" not in {name for names in found.names.values() for name in names}
    assert ("d.png", "dog") in pairs(found, "test")


@pytest.mark.parametrize(
    "text, message, hint",
    [
        ("", "is empty", "must name the columns 'id', 'label'"),
        ("\n \n", "is empty", "must name"),
        (
            "Id,Label\na.jpg,1\n",
            "2 problems:.*column 'id' not found; columns are ['Id', 'Label']; did you mean 'Id'?.*"
            "column 'label' not found; columns are ['Id', 'Label']; did you mean 'Label'?",
            "--config.source.id, .label",
        ),
        ("id,labels\na.jpg,1\n", "column 'label' not found; columns are ['id', 'labels']; did you "
         "mean 'labels'?", ".label"),
        ("id;value\na.jpg;1\n", "column 'label' not found; columns are ['id', 'value'].", ".label"),
        ("a;b\nc;d\n", "'id' not found; columns are ['a', 'b'].", ".label"),
        ("id,label,label\na.jpg,1,2\n", "column 'label' is there 2 times", "source.id"),
        ("a.jpg,1\nb.jpg,2\n", "columns are ['a.jpg', '1']", "source.id"),
        ('id,label\na.jpg,1\n"b.jpg,2\nc.jpg,1\n', "line 3: the row that begins here cannot", '"'),
        ('id,label\na.jpg,1\n\n"b.jpg"x,2\n', "line 4: the row that begins here cannot", '"'),
        ('id,label\n"' + "x" * 200_000 + '",1\n', "line 2: the row that begins here", "quotes"),
        (b"id,label\na.jpg,caf\xe9\n", "line 2: the byte 0xe9 is not UTF-8", "iconv"),
        ("id,label\na.jpg,1\n".encode("utf-16"), "line 1: the byte 0xff is not UTF-8", "CSV UTF-8"),
        ("id,label\n", "no row of the set train is sound", "--config.source.label"),
        ("id,label\ngone.jpg,1\n", "labels.csv line 2: there is no 'gone.jpg'", "source.images"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_such_table_is_refused(tmp_path, text, message, hint):
    file = written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        table(path=str(file), image=image())
    said = caught.value.message
    for part in message.split(".*"):
        assert part in said
        said = said[said.index(part) :]
    assert str(file) in caught.value.message and hint in caught.value.hint


@pytest.mark.parametrize(
    "options, message, hint",
    [
        ({"path": ""}, "source 'table' has no file", "add --config.source.path=FILE.csv"),
        (
            {"path": "label.csv"},
            "'label.csv' is not there. Did you mean 'labels.csv'?",
            "labels.cs",
        ),
        ({"path": "."}, "'.' is a folder", "there are: 'labels.csv'"),
        ({"path": "labels.csv", "images": "imgs"}, "no folder 'imgs'", "--config.source.images"),
    ],
)
def test_a_table_that_is_not_there_is_named(tmp_path, monkeypatch, options, message, hint):
    written(tmp_path, ROWS)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        table(image=image(), **options)
    assert message in caught.value.message and hint in caught.value.hint


def test_images_come_with_their_rows_and_a_check_sees_all(tmp_path):
    names = ["new\nline.png", '"quoted", comma.png', "žluté 猫.png", " space .png"]
    (tmp_path / "files").mkdir()
    for seed, name in enumerate(names):
        images.good(tmp_path / "files" / name, seed)
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    rows = "".join(f"{name},{n % 2}\n" for n, name in enumerate(quoted))
    file = written(tmp_path, "id,label\n" + rows + "gone.png,1\n", files=())
    source = table(path=str(file), images=str(tmp_path / "files"), image=image(on_bad="report"))
    assert source.names["train"] == names and source.labels["train"].tolist() == [0, 1, 0, 1]
    assert [(p.kind, p.line) for p in source.problems] == [("missing file", 7)]  # a row has two
    wanted = [images.photo(seed=seed).mean() for seed in range(4)]
    got = source.read("train", np.arange(4)).mean((1, 2, 3))
    assert np.abs(got - wanted).max() < 12  # the central square of each


def test_files_are_not_looked_at_one_by_one(tmp_path, monkeypatch):
    """A call for each of 22,640 files takes longer than all else, on a slow disk much longer."""
    names = [hashlib.sha1(bytes([n])).hexdigest() + ".jpg" for n in range(200)]
    rows = "".join(f"{name},{n % 2}\n" for n, name in enumerate(names))
    file = written(tmp_path, "objectId,value\n" + rows, files=names)
    calls = []
    for name in ("stat", "lstat", "open", "readlink"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *a, real=real, **k: [calls.append(a), real(*a, **k)][1]
        )
    found = list_table(file, tmp_path, ("objectId", "value"), "", False)
    assert found.names["train"] == names and len(calls) < 40
    os.stat(tmp_path)
    assert calls[-1] == (tmp_path,)  # the counter is at work


def test_a_table_over_real_photos_named_by_their_hash(tmp_path):
    if not (REAL / "cats_dogs").is_dir():
        pytest.skip(f"{REAL / 'cats_dogs'} is not there: set LOWLABEL_TEST_DATA")
    rows = ["objectId,value"]
    for label, kind in enumerate(("cats", "dogs")):
        for path in sorted((REAL / "cats_dogs" / "train" / kind).iterdir())[:6]:
            name = hashlib.sha1(path.read_bytes()).hexdigest() + ".jpg"
            (tmp_path / name).write_bytes(path.read_bytes())
            rows.append(f"{name},{label}")
    file = written(tmp_path, "\n".join(rows), files=())
    source = table(path=str(file), id="objectId", label="value", image=image(size=32))
    assert source.class_names == ("0", "1") and source.labels["train"].tolist() == [0] * 6 + [1] * 6
    for name, digest in zip(source.names["train"], source.digests["train"], strict=True):
        assert hashlib.sha256((tmp_path / name).read_bytes()).digest() == digest
    assert source.read("train", np.arange(12)).shape == (12, 32, 32, 3) and not source.problems
