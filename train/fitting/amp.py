"""Automatic mixed precision: what a device computes in 16 bits while it trains."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch


def half_type(device: torch.device) -> torch.dtype | None:
    """Return the 16-bit type that a device has in hardware: bfloat16, float16 or none."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    flags: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return torch.bfloat16 if flags.get("avx512_bf16") or flags.get("amx_bf16") else None


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a network computes in 16 bits where the device can."""
    half = half_type(device)
    return torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None)


def gradient_scaler(device: torch.device) -> torch.amp.GradScaler:
    """Return what keeps float16 gradients from vanishing; it does nothing for other types."""
    return torch.amp.GradScaler(device.type, enabled=half_type(device) == torch.float16)
