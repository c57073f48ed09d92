"""16 bits where the device has them in hardware, and full precision elsewhere."""

from __future__ import annotations

import pytest
import torch

from foveate.train.fitting.steps import autocast, gradient_scaler, half_type

CPU = torch.device("cpu")


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16", None])
def test_a_processor_computes_in_what_it_has(
    monkeypatch: pytest.MonkeyPatch, flag: str | None
) -> None:
    flags = {"avx512_bf16": False, "amx_bf16": False, **({flag: True} if flag else {})}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    expected = torch.bfloat16 if flag else torch.float32
    assert half_type(CPU) == (torch.bfloat16 if flag else None)
    with autocast(CPU):
        assert torch.nn.Linear(4, 4)(torch.ones(1, 4)).dtype == expected


def test_only_float16_gradients_are_scaled() -> None:
    assert float(gradient_scaler(CPU).scale(torch.ones(1))) == 1
