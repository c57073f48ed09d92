"""``benchmark parity`` on a data set admits a precision of a CPU's engine to ``auto``."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveate.runtime.auto.cpu_candidates import Candidate, cpu_candidates
from foveate.runtime.auto.parity_records import parity_path, read_engine_parity
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.engines.hardware import cpu_environment
from foveate.runtime.errors import EngineError
from tests.conftest import run

pytest.importorskip("foveate.runtime.engines.openvino_import")


@pytest.fixture(autouse=True)
def own_cache_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path))


def test_a_record_is_written_of_a_data_set_and_not_of_phantoms(bundle: Path, data: Path) -> None:
    opened, here = open_bundle(bundle), cpu_environment()
    path = parity_path(opened, here, "openvino", "fp32")
    names = ("--engines", "onnxruntime,openvino", "--precision", "fp32")
    drawn = run("benchmark", "parity", bundle, *names, "--count", 2, "--size", 128)
    assert drawn.return_value == 0 and not path.exists()
    done = run("benchmark", "parity", bundle, data, *names)
    assert done.return_value == 0, done.output
    assert "wrote record of openvino fp32 on this processor: disagreement 0.0" in done.output
    found = read_engine_parity(path)
    assert found is not None and found.held and found.images == 12 and found.data == "data0"
    assert found.reference.startswith("PyTorch") and found.dice_change is not None
    assert not parity_path(opened, here, "onnxruntime", "fp32").exists()


def test_bf16_is_admitted_by_what_was_measured(bundle: Path, data: Path) -> None:
    opened, here = open_bundle(bundle), cpu_environment()
    done = run("benchmark", "parity", bundle, data, "--engines", "openvino", "--precision", "bf16")
    if isinstance(done.exception, EngineError):
        pytest.skip("no bfloat16 arithmetic here")
    found = read_engine_parity(parity_path(opened, here, "openvino", "bf16"))
    assert found is not None and found.held == (done.return_value == 0)
    path = parity_path(opened, here, "openvino", "bf16")
    effect = "From now on auto may take it here: --engine onnxruntime --precision fp32 keeps"
    assert (effect in done.output) == found.proves and f"{path}\n" in done.output
    allowed = cpu_candidates(opened, here).allowed
    assert (Candidate("openvino", "bf16") in allowed) == found.proves
