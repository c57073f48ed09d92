"""Describe a bundle, the same on every machine: in words, and as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foveate.runtime.bundle.bundle import Bundle, check_bundle, ensemble_of, parity_rows
from foveate.runtime.bundle.containers import PackedFile
from foveate.runtime.bundle.signing import SHOWN
from foveate.runtime.spec import GREY, RGB, CascadeSpec


def bundle_facts(bundle: Bundle) -> dict[str, str]:
    """Return what a bundle says of itself, in words, after checking every file of it."""
    sizes, spec = check_bundle(bundle), bundle.spec
    facts = {
        "bundle": f"{bundle.path}, all {len(sizes)} files match their sha256",
        "label": bundle.label,
        "input": f"{spec.input_type}, {_channels(spec)}any size{_window(spec)}",
        "classes": ", ".join(spec.classes),
        "stage 1": f"the whole image at its own size, padded to a multiple of {spec.pad_multiple}"
        if spec.pad_multiple
        else f"{spec.stage1.height}x{spec.stage1.width}, the whole image",
        "stage 2": _stage2(bundle),
        "networks": _networks(bundle.manifest["network"]) + _averaged(bundle),
        "mask": _decision(spec),
        "precisions": ", ".join(bundle.precisions),
        "files": ", ".join(f"{name} {_size(size)}" for name, size in sizes.items()),
        "data": _data(bundle.manifest["data"]),
        "signature": _signature(bundle),
    }
    for name, row in parity_rows(bundle).items():
        facts[f"parity {name}"] = f"disagreement {row['disagreement']:.6f}, {row['how']}"
    return facts


def bundle_values(bundle: Bundle) -> dict[str, Any]:
    """Return what a bundle is as JSON values, after checking every file of it."""
    sizes, manifest, signature = check_bundle(bundle), bundle.manifest, bundle.signature
    hashes = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    return {
        "path": str(bundle.path),
        "packed": isinstance(bundle.files, PackedFile),
        "manifest_sha256": manifest["manifest_sha256"],
        "kind": manifest["kind"],
        "cascade": bundle.spec.as_dict(),
        "network": manifest["network"],
        "precisions": list(bundle.precisions),
        "files": {name: {"bytes": sizes[name], "sha256": hashes[name]} for name in sizes},
        "data": manifest["data"],
        "parity": parity_rows(bundle),
        "signed_with": None if signature is None else signature.key,
    }


def _size(size: int) -> str:
    return f"{size / 1e6:.2f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"


def _channels(spec: CascadeSpec) -> str:
    """Return the channels of an image; "" for grey."""
    if spec.channels == GREY:
        return ""
    return "rgb, " if spec.channels == RGB else f"{spec.channels} channels, "


def _window(spec: CascadeSpec) -> str:
    if spec.window is None:
        return ""
    low, high = spec.window
    return f"; signed, 32-bit and float values from {low:g} (black) to {high:g} (white)"


def _stage2(bundle: Bundle) -> str:
    spec, region = bundle.spec, bundle.spec.region
    if spec.stage2 is None:
        return "none: one network"
    size = f"{spec.stage2.height}x{spec.stage2.width}"
    if region.mode == "tiles":
        which = f"the {region.tiles} best" if region.tiles else "all"
        return f"{size}, {which} tiles at the image's own resolution, overlap {region.overlap:.0%}"
    return (
        f"{size}, the box of coarse probability over {region.threshold} in patches of "
        f"{region.opening} cells or more, margin {region.margin}"
    )


def _decision(spec: CascadeSpec) -> str:
    """Return how a pixel gets its class."""
    return f"probability over {spec.mask_threshold:g}" if spec.binary else "the most probable class"


def _networks(network: Mapping[str, Any]) -> str:
    """Return the network of both stages, or of each where stage 2 has its own."""
    return "; stage 2: ".join(_network(one) for one in (network, network.get("stage2")) if one)


def _network(one: Mapping[str, Any]) -> str:
    if "imported" not in one:
        return f"{one['name']}, width {one['width']}, depth {one['depth']}"
    origin = one["imported"]
    return (
        f"imported from {origin['file']}, sha256 {origin['sha256'][:SHOWN]}, made by "
        f"{origin['producer'] or 'an unnamed producer'}, licence: "
        f"{origin['licence'] or 'not stated'}, images normalised by {origin['normalise']}, "
        f"{origin['interface']}"
    )


def _averaged(bundle: Bundle) -> str:
    """Return what each stage averages, and its cost; "" where it is one network."""
    members, flips = ensemble_of(bundle.manifest)
    over = [f"{members} runs"] * (members > 1) + ["mirrored images"] * flips
    cost = f"{members * (1 + flips)} times the multiply-adds of one"
    return f"; averaged over {' and '.join(over)}: {cost}" if over else ""


def _data(data: Mapping[str, Any]) -> str:
    """Return what the weights were made from, and from what they began, with the licences."""
    named = [
        f"{one['name']}, licence: {one['licence'] or 'not stated'}"
        for one in (data, *data.get("initial", []))
    ]
    return "; the weights began with a run on ".join(named)


def _signature(bundle: Bundle) -> str:
    if bundle.signature is None:
        return "none"
    return (
        f"says it is of the key {bundle.signature.key[:SHOWN]}; not checked here, "
        "foveate bundle verify-signature does it"
    )
