"""Which plan covers a call, and what is said when none does."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from foveate.runtime.engines.cuda.query import Gpu
from foveate.runtime.engines.tensorrt.build_options import BuildOptions
from foveate.runtime.engines.tensorrt.plan_cache import PlanCache
from foveate.runtime.engines.tensorrt.plan_lookup import PlanQuery, Shape, find, no_plan, usable
from foveate.runtime.engines.tensorrt.plan_record import PlanRecord, Recipe, this_platform
from foveate.runtime.errors import PlanError

A10, TURING = Gpu("NVIDIA A10", "sm86"), Gpu("NVIDIA T4", "sm75")
WANTED = PlanQuery("tensorrt_rtx", "1.7", A10, "l.bundle", "fp16", "a" * 64)
SHAPE = (1, 1024, 1024)
OPTIONS = BuildOptions(((1024, 1024), (512, 768)), (1, 1, 8))
RTX = Recipe("tensorrt_rtx", "1.7", "a" * 64, OPTIONS, None)
FULL = Recipe("tensorrt", "10.3.0", "a" * 64, OPTIONS, A10)


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    return PlanCache(tmp_path)


def built(cache: PlanCache, recipe: Recipe) -> PlanRecord:
    return cache.build_once(recipe, "l.bundle", "fp16", lambda log: b"", lambda: None)[0]


def refused(cache: PlanCache, expected: PlanQuery, shape: Shape = SHAPE) -> str:
    with pytest.raises(PlanError) as error:
        find(cache, expected, shape)
    return str(error.value)


def options_in(text: str) -> list[str]:
    """Return batch and size in the line that a message ends with."""
    words = shlex.split(text[text.index("foveate build") :])
    return [words[words.index("--batch") + 1], words[words.index("--size") + 1]]


def test_the_plan_with_the_least_room_to_spare_is_taken(cache: PlanCache) -> None:
    small = built(cache, replace(RTX, options=replace(OPTIONS, batch=(1, 1, 2))))
    large = built(cache, RTX)
    assert find(cache, WANTED, SHAPE) == small
    assert find(cache, WANTED, (3, 1024, 1024)) == large
    assert find(cache, WANTED, (1, 512, 768)) == small


def test_no_plan_names_the_line_that_builds_one(cache: PlanCache) -> None:
    said = refused(cache, replace(WANTED, bundle="my lung.bundle"), (4, 1024, 1024))
    assert "there is no plan of the fp16 graph of my lung.bundle" in said
    assert said.endswith(
        "Build one: foveate build 'my lung.bundle' --engine tensorrt --precision fp16 "
        "--batch 1,4,4 --size 1024x1024"
    )


def test_a_plan_for_another_system_or_processor_is_refused_by_name(cache: PlanCache) -> None:
    record = replace(built(cache, RTX), platform="linux-s390x")
    cache.write(record, b"")
    said = refused(cache, WANTED)
    assert f"was built for linux-s390x; this is {this_platform()}. Build one: " in said
    again, new = cache.build_once(RTX, "l.bundle", "fp16", lambda log: b"own", lambda: None)
    assert new and find(cache, WANTED, SHAPE) == again


def test_the_line_builds_on_the_gpu_that_was_asked_for(cache: PlanCache) -> None:
    full = replace(WANTED, flavour="tensorrt", gpu=1)
    assert refused(cache, full).endswith("--size 1024x1024 --gpu 1")
    assert str(no_plan(cache, full, None)).endswith("--size HxW --gpu 1")
    rtx, current = replace(WANTED, gpu=1), replace(OPTIONS, targets=("current",))
    assert refused(cache, rtx).endswith("--size 1024x1024")
    assert rtx.build_line(current).endswith("--target current --gpu 1")


@pytest.mark.parametrize(
    ("shape", "outside", "arguments"),
    [
        ((9, 1024, 1024), "batch 9 (it takes 1 to 8)", ["1,1,9", "1024x1024,512x768"]),
        ((1, 500, 1024), "height 500 (it takes 512 to 1024)",
         ["1,1,8", "1024x1024,512x768,500x1024"]),
        ((1, 1024, 1025), "width 1025 (it takes 768 to 1024)",
         ["1,1,8", "1024x1024,512x768,1024x1025"]),
        ((9, 2048, 100), "batch 9 (it takes 1 to 8), height 2048 (it takes 512 to 1024), width 100",
         ["1,1,9", "1024x1024,512x768,2048x100"]),
    ],
)  # fmt: skip
def test_a_shape_outside_the_profile_is_refused_by_name(
    cache: PlanCache, shape: tuple[int, int, int], outside: str, arguments: list[str]
) -> None:
    built(cache, RTX)
    said = refused(cache, WANTED, shape)
    assert f"does not cover {outside}" in said
    assert options_in(said) == arguments
    sizes = tuple(tuple(map(int, size.split("x"))) for size in arguments[1].split(","))
    least, usual, most = map(int, arguments[0].split(","))
    options = BuildOptions(sizes, (least, usual, most))  # type: ignore[arg-type]
    built(cache, replace(RTX, options=options))
    find(cache, WANTED, shape)  # the line leads out


@pytest.mark.parametrize(
    ("recipe", "expected", "why"),
    [
        (RTX, {"version": "1.8"}, "was built by tensorrt_rtx 1.7; 1.8 is installed"),
        (RTX, {"flavour": "tensorrt", "version": "11.4"},
         "is for tensorrt_rtx; tensorrt 11.4 is installed"),
        (RTX, {"device": TURING}, "is for sm80 and later; this is NVIDIA T4 (sm75)"),
        (replace(RTX, options=replace(OPTIONS, targets=("sm89", "sm120"))), {},
         "is for sm89, sm120; this is NVIDIA A10 (sm86)"),
        (replace(RTX, options=replace(OPTIONS, targets=("current",)), device=TURING), {},
         "is for NVIDIA T4; this is NVIDIA A10 (sm86)"),
        (FULL, {"flavour": "tensorrt", "version": "10.3.0", "device": Gpu("A100", "sm80")},
         "is for NVIDIA A10; this is A100 (sm80)"),
    ],
)  # fmt: skip
def test_a_plan_for_elsewhere_is_refused_by_name(
    cache: PlanCache, recipe: Recipe, expected: dict[str, object], why: str
) -> None:
    built(cache, recipe)
    said = refused(cache, replace(WANTED, **expected))  # type: ignore[arg-type]
    assert f"the plan of the fp16 graph of l.bundle {why}. Build one: foveate build" in said
    here = replace(WANTED, **expected)  # type: ignore[arg-type]
    options = here.adapted(recipe.options)
    assert shlex.join(options.arguments()) in said
    own = here.flavour == "tensorrt" or options.for_this_gpu
    device = here.device if own else None
    built(cache, Recipe(here.flavour, here.version, here.graph_sha256, options, device))
    find(cache, here, SHAPE)  # the line leads out


def test_compatible_plans_run_on_later_versions_and_other_gpus(cache: PlanCache) -> None:
    options = replace(OPTIONS, version_compatible=True, hardware_compatible=True)
    record = built(cache, replace(FULL, options=options))
    here = replace(WANTED, flavour="tensorrt", version="10.13.2", device=Gpu("L4", "sm89"))
    assert find(cache, here, SHAPE) == record
    assert "was built by tensorrt 10.3.0" in refused(cache, replace(here, version="10.2.0"))
    assert "was built by tensorrt 10.3.0" in refused(cache, replace(here, version="11.4.0"))
    assert "is for NVIDIA A10" in refused(cache, replace(here, device=TURING))


def test_tf32_is_a_precision_of_its_own(cache: PlanCache) -> None:
    """An fp32 graph has plans that round and plans that do not; neither is taken for the other."""
    exact = built(cache, RTX)
    rounding = built(cache, replace(RTX, options=replace(OPTIONS, tf32=True)))
    fp32, tf32 = replace(WANTED, precision="fp32"), replace(WANTED, precision="tf32")
    assert find(cache, fp32, SHAPE) == exact and find(cache, tf32, SHAPE) == rounding
    assert usable(cache, fp32) == [exact]
    said = refused(cache, replace(tf32, graph_sha256="c" * 64))
    assert said.endswith("--precision tf32 --batch 1,1,1 --size 1024x1024")
