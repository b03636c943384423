"""The house keeps its shape: floors, one pmap, short functions, no import-time work."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lowlabel_jax"
FLOORS = (  # a room imports only from its own folder and from floors above it in this list
    ("core",),
    ("ops", "images", "augment", "optimizers", "schedules"),
    ("data",),
    ("sources", "configuration"),
    ("models", "pretrained"),
    ("state",),
    ("objectives",),
    ("evaluation",),
    ("training",),
    ("tuning",),
    ("runs",),
    ("start", "cli", "__main__"),
)
LEVEL = {name: number for number, row in enumerate(FLOORS) for name in row}
SIDEWAYS = {("cli", "start"), ("__main__", "cli"), ("runs", "start")}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path):
    """The rooms of the package that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            head, *rest = node.module.split(".")
            names = rest[:1] or [alias.name for alias in node.names]
            yield from names if head == "lowlabel_jax" else ()
        elif isinstance(node, ast.Import):
            for alias in node.names:
                head, *rest = alias.name.split(".")
                yield from rest[:1] if head == "lowlabel_jax" else ()


def outside(path):
    """The top-level packages that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    room = room_of(path)
    if room == "__init__":
        return
    for other in imported(path):
        fine = other == room or (room, other) in SIDEWAYS or other == "__version__"
        assert fine or LEVEL[other] < LEVEL[room], f"{path.name} ({room}) imports {other}"


def test_objectives_know_neither_models_nor_data_nor_augmentation():
    for path in (PACKAGE / "objectives").glob("*.py"):
        assert not {"models", "augment", "images", "data", "sources"} & set(imported(path)), path


@pytest.mark.parametrize("room", ["images", "data", "sources", "configuration"])
def test_rooms_without_jax(room):
    for path in (PACKAGE / room).rglob("*.py"):
        assert not {"jax", "flax", "optax", "orbax"} & set(outside(path)), path


def test_one_file_says_pmap():
    said = [p for p in FILES if "pmap(" in p.read_text() or "shard_map(" in p.read_text()]
    assert [p.name for p in said] == ["parallel.py"]


def test_functions_and_files_stay_readable():
    lengths = [
        node.end_lineno - node.lineno + 1
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    lengths.sort()
    assert lengths[len(lengths) // 2] <= 14 and lengths[int(0.9 * len(lengths))] <= 32
    assert lengths[-1] <= 80  # the training line
    too_long = {p.name: n for p in FILES if (n := len(p.read_text().splitlines())) > 220}
    assert not too_long


def test_every_public_function_says_what_it_does():
    for path in FILES:
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), f"{path} has no docstring"
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"


def test_every_module_but_start_leaves_the_configuration_of_jax_alone():
    said = [p.name for p in FILES if "jax.config.update" in p.read_text()]
    assert said in ([], ["compiling.py"])


def test_what_is_listed_as_dear_is_there():
    for line in (PACKAGE.parent / "tests" / "dear.txt").read_text().splitlines():
        file, _, name = line.partition("::")
        text = (PACKAGE.parent / file).read_text()
        assert f"def {name.partition('[')[0]}(" in text, line
