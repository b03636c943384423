"""The notebooks: kept without outputs, and each runs from its first cell to its last."""

import json
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LIMIT = 600  # seconds a cell


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == ["first_run", "looking_inside", "own_images"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path):
    kept = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in kept["cells"] if cell["cell_type"] == "code"]
    assert code and kept["cells"][0]["source"][0].startswith("# ")
    for cell in code:
        assert cell["outputs"] == [] and cell["execution_count"] is None
        text = "".join(cell["source"])
        assert "/home/" not in text and "http" not in text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own making
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, monkeypatch, tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="the extra dev has Jupyter's client")
    nbformat = pytest.importorskip("nbformat", reason="the extra dev has Jupyter's client")
    pytest.importorskip("ipykernel", reason="the extra dev has Jupyter's kernel")
    programs = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path[1:]]))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("XLA_FLAGS")  # one device, as people have it
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=LIMIT, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    said = "".join(out.get("text", "") for out in outputs)
    assert "error:" not in said and "Traceback" not in said, said
    assert any("image/png" in out.get("data", {}) for out in outputs)
