"""foveate against what a user would pick instead: same weights, images and threads, interleaved.

Every round runs every method on one image, or on one batch. A method's ratio is its time over
foveate's in the same round; Dice and disagreement are those of the masks that were timed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from foveate.benchmarks.compare.catalogue import Peer, WholePeer, cpu_peers, gpu_peers
from foveate.benchmarks.compare.comparison import (
    OURS,
    Comparison,
    Method,
    Part,
    Segment,
    run_comparison,
)
from foveate.benchmarks.compare.handwritten_cascade import HandwrittenCascade
from foveate.benchmarks.compare.networks import (
    Stages,
    geometry_graph,
    open_stages,
    single_graph,
    stage1_graph,
)
from foveate.benchmarks.compare.onnxruntime_networks import onnxruntime_network
from foveate.benchmarks.measure.baseline import OUTPUTS, BaselineSession, ready
from foveate.benchmarks.measure.images import Images, most_frequent
from foveate.benchmarks.measure.parity import Reference
from foveate.benchmarks.measure.roofline import multiply_adds
from foveate.benchmarks.measure.targets import Variants
from foveate.benchmarks.measure.timing import PAUSE_SECONDS
from foveate.runtime.arrays import Array, Pixels, as_input_type, feed
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.errors import BundleError, EngineError
from foveate.train.data.dataset import Case

LEAST_ROUNDS = 40


@dataclass(frozen=True)
class Opponents:
    """What a bundle is compared on, and with which one-network bundles besides the peers.

    ``batch`` images a call; the parts of the time are taken for single images alone.
    """

    singles: Sequence[Path]
    threads: int
    rounds: int
    batch: int


def compare(
    found: Variants,
    images: Images,
    reference: Reference,
    opponents: Opponents,
    progress: Callable[[str, int, int], None],
) -> tuple[dict[str, Any], list[Method]]:
    """Return the results of a comparison, and the methods with their totals.

    Each image is segmented at least once, and there are 40 rounds or as many as asked for. What
    the time is made of is measured on the CPU, where foveate runs on it.
    """
    if found.bundle.spec.pad_multiple:
        raise BundleError(
            f"{found.bundle.path} is one network that sees whole images; compare a cascade with "
            "--single for this one"
        )
    stages = open_stages(found.bundle)
    if found.bundle.spec.region.mode == "tiles":
        raise BundleError(
            f"{found.bundle.path} looks at tiles; the hand-written loops it would be compared "
            "with know the box alone. Take benchmark latency and throughput for it"
        )
    threads = opponents.threads
    cv2.setNumThreads(threads)
    torch.set_num_threads(threads)
    rounds = opponents.rounds or max(LEAST_ROUNDS, -(-len(images) // opponents.batch))
    taken = min(len(images), rounds * opponents.batch)
    cases = [images.load(index) for index in range(taken)]
    with ExitStack() as stack:
        singles = [(path, _single(path, found, threads, stack)) for path in opponents.singles]
        first = [case.image for case in cases[: opponents.batch]]
        methods = [
            *_ours(found, cases, opponents.batch),
            *_peers(stages, opponents, found.on_cpu, first),
        ]
        bundles, parts = [cascade.bundle for _, cascade in singles], []
        if stages.spec.stage2 is not None and (singles or found.on_cpu):
            methods += _singles(stages, singles, threads)
        if opponents.batch == 1 and found.on_cpu:
            parts = _parts(stages, bundles, cases, threads)
        pause_s = PAUSE_SECONDS if found.on_cpu else 0.0
        job = Comparison(methods, parts, reference, cases, rounds, opponents.batch, pause_s)
        results = run_comparison(job, progress)
    bundles = [found.bundle, *(cascade.bundle for _, cascade in singles)]
    results["multiply_adds"] = _multiply_adds(bundles, cases[0])
    return results, methods


def _ours(found: Variants, cases: Sequence[Case], batch: int) -> list[Method]:
    """Return foveate's variants, warmed up; the first is what everything is compared with."""
    methods: list[Method] = []
    sizes = most_frequent(case.image.shape[:2] for case in cases)
    for variant, cascade in found.cascades.items():
        cascade.warm_up([(batch, *size) for size in sizes])
        key = f"{OURS} {variant.name}" if methods else OURS
        how = "one fused graph, geometry inside, masks checked"
        methods.append(Method(key, f"foveate, {variant.name}", how, _segment(cascade)))
    return methods


def _segment(cascade: Cascade) -> Segment:
    """Return a cascade as a function from images to their masks and boxes."""
    return lambda images: [
        (result.mask, result.box_xyxy[0]) for result in cascade.batch(list(images))
    ]


def _peers(
    stages: Stages, opponents: Opponents, on_cpu: bool, images: Sequence[Pixels]
) -> list[Method]:
    """Return the peers that run the same two networks; those that cannot, with the reason.

    Peers on the CPU only where foveate runs on it too, peers on the GPU where PyTorch sees one.
    """
    threads = opponents.threads
    peers: list[Peer | WholePeer] = []
    if on_cpu:
        peers += cpu_peers(stages, threads, opponents.batch)
    if torch.cuda.is_available():
        peers += gpu_peers(stages, threads)
    found = []
    for peer in peers:
        try:
            found.append(Method(peer.key, peer.name, peer.how, peer.open(stages, images)))
        except EngineError as error:
            found.append(Method(peer.key, peer.name, peer.how, None, str(error)))
    return found


def _single(path: Path, found: Variants, threads: int, stack: ExitStack) -> Cascade:
    """Return a one-network bundle, loaded; BundleError when it is another kind of model."""
    cascade = stack.enter_context(Cascade.load(path, "onnxruntime", "fp32", threads))
    spec = found.bundle.spec
    if cascade.spec.stage2 is not None:
        raise BundleError(f"--single {path} is a cascade; expected one made with --stages single")
    if cascade.spec.classes != spec.classes:
        raise BundleError(
            f"--single {path} has the classes {', '.join(cascade.spec.classes[1:])}; expected "
            f"{', '.join(spec.classes[1:])}, as the cascade has"
        )
    return cascade


def _singles(stages: Stages, singles: Sequence[tuple[Path, Cascade]], threads: int) -> list[Method]:
    """Return one network at full size and at stage 1's size."""
    methods = []
    for path, cascade in singles:
        full = bool(cascade.spec.pad_multiple)
        key, size = ("e", "full size") if full else ("f", "stage-1 size")
        how = f"the bundle {path.resolve().name}, foveate, onnxruntime fp32"
        methods.append(Method(key, f"one network, {size}", how, _segment(cascade)))
    keys = {method.key for method in methods}
    if "e" not in keys:
        reason = "no bundle of one network at full size was given with --single"
        methods.append(Method("e", "one network, full size", "", None, reason))
    if "f" not in keys:
        session = BaselineSession(stage1_graph(stages), threads)
        how = "stage 1 of the cascade alone, its mask enlarged, onnxruntime fp32"
        segment = _bare_segment(session, stages.spec.input_kind)
        methods.append(Method("f", "one network, stage-1 size", how, segment))
    return sorted(methods, key=lambda method: method.key)


def _bare_segment(session: BaselineSession, kind: tuple[str, int]) -> Segment:
    def segment(images: Sequence[Pixels]) -> list[tuple[Any, Any]]:
        found = []
        for image in images:
            mask, box, _ = session.run(feed(as_input_type(image, *kind)[None]), OUTPUTS)
            found.append((mask[0], box[0, 0]))
        return found

    return segment


def _parts(
    stages: Stages, singles: Sequence[Bundle], cases: Sequence[Case], threads: int
) -> list[Part]:
    """Return what the time is made of: geometry and networks, each alone."""
    fused = BaselineSession(geometry_graph(stages), threads)
    feeds = [ready([case.image], stages.spec.input_kind) for case in cases]
    networks = {name: onnxruntime_network(graph, threads) for name, graph in stages.graphs.items()}
    inputs = {name: _noise(stages.shape(name)) for name in networks}
    replay = _replayed(stages, networks, cases)
    parts = [
        Part("geometry inside the graph, alone", lambda index: fused.run(feeds[index], OUTPUTS)),
        Part("geometry by numpy + OpenCV, alone", replay),
        Part(
            "the networks, alone",
            lambda index: [networks[name](inputs[name]) for name in networks],
        ),
    ]
    for bundle in singles:
        if bundle.spec.pad_multiple:
            parts.append(_full_network(bundle, cases, threads))
    return parts


def _replayed(stages: Stages, networks: dict[str, Any], cases: Sequence[Case]) -> Any:
    """Return the glue with each network's output for an image kept from one run and replayed."""
    kept: list[dict[str, Array]] = []

    def keep(name: str) -> Any:
        def network(values: Array) -> Array:
            kept[-1][name] = networks[name](values)
            return kept[-1][name]

        return network

    two = "stage2" in networks
    recording = HandwrittenCascade(stages.spec, keep("stage1"), keep("stage2") if two else None)
    for case in cases:
        kept.append({})
        recording(case.image)

    def run(index: int) -> object:
        outputs = kept[index]
        stage2 = (lambda _: outputs["stage2"]) if two else None
        cascade = HandwrittenCascade(stages.spec, lambda _: outputs["stage1"], stage2)
        return cascade(cases[index].image)

    return run


def _full_network(bundle: Bundle, cases: Sequence[Case], threads: int) -> Part:
    """Return the one network of a bundle at each image's own size, with no geometry around it."""
    network = onnxruntime_network(single_graph(bundle), threads)
    multiple = bundle.spec.pad_multiple
    channels = bundle.spec.input_channels
    sizes = [case.image.shape[:2] for case in cases]
    shapes = [(1, channels, *(-(-side // multiple) * multiple for side in size)) for size in sizes]
    inputs = {shape: _noise(shape) for shape in set(shapes)}
    return Part(
        f"the network of {bundle.path.resolve().name} at full size, alone",
        lambda index: network(inputs[shapes[index]]),
    )


def _noise(shape: Sequence[int]) -> Any:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _multiply_adds(bundles: Sequence[Bundle], case: Case) -> dict[str, int]:
    """Return the multiply-adds of each bundle's networks and geometry for the first image."""
    height, width = case.image.shape[:2]
    found = {}
    for bundle in bundles:
        for part, count in multiply_adds(bundle.graph("fp32"), 1, height, width).items():
            found[f"{bundle.path.resolve().name}, {part}"] = count
    return found
