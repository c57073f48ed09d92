"""The notebook: it runs from end to end on a small scale, and what is committed is what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "2_Stage_U-NET.ipynb"
SMALL = """
from pathlib import Path
from foveate.train.fitting import steps
steps.EPOCH_BATCHES = 12
COUNT, EPOCHS, CROP, WORK = 30, 3, 64, Path("2-stage-unet")
"""
CHAPTERS = (
    "Data", "Preprocessing", "Augmentation", "Settings", "Training", "Evaluation", "Export",
    "Inference", "Pictures", "same", "Results", "next",
)  # fmt: skip


def read() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def said(notebook: nbformat.NotebookNode) -> str:
    """All that the cells print."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    return "\n".join(out["text"] for out in outputs if out["output_type"] == "stream")


def figures(text: str) -> tuple[float, float]:
    """The cascade's Dice on the test images, and the largest disagreement with PyTorch."""
    dice = re.search(r"^cascade +(\d\.\d+)  \[", text, re.M)
    disagreement = re.search(r"with PyTorch: (\d\.\d+)", text)
    assert dice and disagreement, text
    return float(dice[1]), float(disagreement[1])


def test_the_notebook_runs_and_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    notebook = read()
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(cells) == 1
    cells[0].source = SMALL
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    dice, disagreement = figures(said(notebook))
    assert dice > 0.1 and disagreement <= 0.001
    assert "6 masks, by onnxruntime fp32" in said(notebook)
    assert (tmp_path / "2-stage-unet" / "lesion.bundle" / "cascade.fp32.onnx").exists()


def test_the_committed_notebook_has_its_outputs_and_no_path_of_a_machine() -> None:
    notebook, text = read(), NOTEBOOK.read_text(encoding="utf-8")
    heads = " ".join(re.findall(r"^## .*", "\n".join(c.source for c in notebook.cells), re.M))
    assert all(chapter in heads for chapter in CHAPTERS)
    dice, disagreement = figures(said(notebook))
    assert dice > 0.4 and disagreement <= 0.001
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert len(text) < 600_000
    assert not re.search(r"/tmp/|/home/|/root/|/Users/|site-packages", text)
    pictures = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    assert pictures.count("image/jpeg") >= 7 and "image/png" in pictures
