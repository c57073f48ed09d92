"""The cache of plans, with builders that return plain bytes: no TensorRT is needed here."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from foveate.runtime.engines.cuda.query import Gpu
from foveate.runtime.engines.tensorrt.build_options import BuildOptions
from foveate.runtime.engines.tensorrt.plan_cache import (
    PlanCache,
    export_plan,
    import_plan,
    plan_cache,
    prune,
)
from foveate.runtime.engines.tensorrt.plan_record import PlanRecord, Recipe
from foveate.runtime.engines.tensorrt.toolkit import FLAVOURS
from foveate.runtime.errors import EngineError, SettingsError
from foveate.runtime.json_files import canonical_sha256

OPTIONS = BuildOptions(((1024, 1024), (512, 768)), (1, 1, 8))
RECIPE = Recipe("tensorrt_rtx", "1.7", "a" * 64, OPTIONS, None)


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    return PlanCache(tmp_path / "plans")


def built(cache: PlanCache, recipe: Recipe = RECIPE, plan: bytes = b"plan") -> PlanRecord:
    """Return the record of a plan that was built just now."""
    record, new = cache.build_once(recipe, "lung.bundle", "fp16", lambda log: plan, lambda: None)
    assert new
    return record


def never(log: Path) -> bytes:
    raise AssertionError("built although the plan is there")


def sign(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Change a record and make its own hash right again."""
    values = json.loads(path.read_text())
    change(values)
    values.pop("record_sha256")
    path.write_text(json.dumps({**values, "record_sha256": canonical_sha256(values)}))


def test_a_plan_is_built_once_and_read_back(cache: PlanCache) -> None:
    record = built(cache)
    again, new = cache.build_once(RECIPE, "lung.bundle", "fp16", never, lambda: None)
    assert not new and again == record == cache.get(RECIPE.key) == cache.records()[0]
    assert cache.read(record, "lung.bundle") == b"plan"
    assert [entry.problem for entry in cache.verify()] == [""]


@pytest.mark.parametrize(
    "other",
    [
        replace(RECIPE, graph_sha256="b" * 64),
        replace(RECIPE, version="1.8"),
        replace(RECIPE, flavour="tensorrt"),
        replace(RECIPE, device=Gpu("NVIDIA A10", "sm86")),
        replace(RECIPE, options=replace(OPTIONS, targets=("sm86",))),
        replace(RECIPE, options=replace(OPTIONS, optimisation_level=4)),
        replace(RECIPE, options=replace(OPTIONS, batch=(1, 2, 8))),
    ],
    ids=["graph", "version", "flavour", "device", "targets", "level", "batch"],
)
def test_another_recipe_is_another_plan(cache: PlanCache, other: Recipe) -> None:
    built(cache)
    assert built(cache, other, b"other").key != RECIPE.key
    assert len(cache.records()) == 2


def test_a_record_of_an_earlier_version_has_no_platform_and_is_for_all(cache: PlanCache) -> None:
    record = built(cache)
    sign(cache.path(record.key, ".json"), lambda values: values.pop("platform"))
    assert cache.records() == [replace(record, platform="")]
    assert cache.build_once(RECIPE, "lung.bundle", "fp16", never, lambda: None)[1] is False


@pytest.mark.parametrize("content", [b"plam", b"pla", b""])
def test_a_damaged_plan_is_refused_with_the_line_that_builds_it(
    cache: PlanCache, content: bytes
) -> None:
    record = built(cache)
    cache.path(record.key, ".plan").write_bytes(content)
    line = (
        "foveate build 'my lung.bundle' --engine tensorrt --precision fp16 --batch 1,1,8 "
        "--size 1024x1024,512x768"
    )
    with pytest.raises(EngineError) as refused:
        cache.read(record, "my lung.bundle")
    assert str(refused.value).endswith(f"Rebuild it: {line}")
    assert cache.get(record.key) is None
    assert "does not match its record" in cache.verify()[0].problem
    assert built(cache) is not None  # and building is the way out


def test_a_plan_swapped_for_another_is_refused_though_its_record_is_signed(
    cache: PlanCache,
) -> None:
    ours, other = built(cache), built(cache, replace(RECIPE, version="1.8"), b"other")
    cache.path(other.key, ".plan").replace(cache.path(ours.key, ".plan"))
    sign(cache.path(ours.key, ".json"), lambda values: values.update(bundle="x", plan_bytes=5))
    record = next(record for record in cache.records() if record.key == ours.key)
    with pytest.raises(EngineError, match="does not match its record"):
        cache.read(record, "x")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda values: values.update(schema=2), "schema 2; this version reads schema 1"),
        (lambda values: values.update(plan_bytes="4"), "plan_bytes is str '4'; expected int"),
        (lambda values: values["options"].update(batch=[2, 1, 1]), "in rising order"),
        (lambda values: values["options"].update(sizes=[["a", 1]]), "expected int"),
        (lambda values: values["options"].update(turbo=True), "malformed"),
        (lambda values: values.update(device={"name": 1, "sm": ""}), "device.name is int"),
    ],
)
def test_a_record_of_another_shape_is_named(
    cache: PlanCache, change: Callable[[dict[str, object]], object], said: str
) -> None:
    record = built(cache)
    sign(cache.path(record.key, ".json"), change)
    assert said in cache.entries()[0].problem and cache.get(record.key) is None


def test_a_link_in_place_of_a_plan_is_refused(cache: PlanCache, tmp_path: Path) -> None:
    record = built(cache)
    path = cache.path(record.key, ".plan")
    (tmp_path / "elsewhere").write_bytes(b"plan")
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineError, match="is a link"):
        cache.read(record, "lung.bundle")


def test_two_runs_that_need_one_plan_build_it_once(cache: PlanCache) -> None:
    """Each has a cache object of its own, as two processes have; the lock is a file's."""
    builds = []

    def build(log: Path) -> bytes:
        builds.append(log)
        time.sleep(0.2)
        return b"plan"

    def run(_: int) -> bool:
        own = PlanCache(cache.folder)
        return own.build_once(RECIPE, "lung", "fp16", build, lambda: None)[1]

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(run, range(2))) == [False, True]
    assert len(builds) == 1 and cache.read(cache.records()[0], "lung") == b"plan"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_kill_while_the_plan_is_written_leaves_no_plan(cache: PlanCache) -> None:
    child = os.fork()
    if not child:
        os.replace = lambda *given: os._exit(9)  # type: ignore[assignment]
        try:
            built(cache)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert [path.suffix for path in cache.folder.iterdir() if path.name != "cache.lock"] == [".tmp"]
    assert cache.records() == []
    assert [why for _, why in prune(cache, {})] == ["left by an interrupted build"]
    built(cache)


def test_a_builder_that_fails_leaves_its_log_and_no_plan(cache: PlanCache) -> None:
    def fails(log: Path) -> bytes:
        log.write_text("why")
        raise EngineError("no")

    with pytest.raises(EngineError):
        cache.build_once(RECIPE, "lung", "fp16", fails, lambda: None)
    assert cache.path(RECIPE.key, ".log").read_text() == "why"
    assert "its build did not finish" in cache.entries()[0].problem
    assert built(cache)


def test_prune_removes_what_is_stale_and_keeps_the_rest(cache: PlanCache) -> None:
    kept = built(cache)
    lasting = replace(OPTIONS, version_compatible=True)
    lasts = built(cache, Recipe("tensorrt", "10.3", "a" * 64, lasting, Gpu("A10", "sm86")))
    elsewhere = built(cache, replace(RECIPE, flavour="tensorrt", version="11.4"))
    old, damaged = (built(cache, replace(RECIPE, version=version)) for version in ("1.5", "1.6"))
    cache.path(damaged.key, ".plan").write_bytes(b"")
    cache.path(old.key, ".parity.json").write_text("{}")
    orphan = cache.path("f" * 64, ".plan")
    orphan.write_bytes(b"x")
    removed = prune(cache, {"tensorrt_rtx": "1.7"})
    assert {record.key for record in cache.records()} == {kept.key, lasts.key, elsewhere.key}
    names = {name for name, _ in removed}
    assert orphan.name in names and f"{old.key}.parity.json" in names
    assert "was built by tensorrt_rtx 1.5; 1.7 is installed" in {why for _, why in removed}
    assert prune(cache, {"tensorrt_rtx": "1.7"}) == []


def test_a_plan_goes_out_and_comes_in_elsewhere(cache: PlanCache, tmp_path: Path) -> None:
    record = built(cache)
    out = tmp_path / "lung.plan"
    assert export_plan(cache, record, out) == tmp_path / "lung.plan.json"
    other = PlanCache(tmp_path / "other")
    assert import_plan(other, out) == record == other.get(record.key)


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOVEATE_CACHE", "/one")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    assert plan_cache().folder == Path("/one/plans")
    monkeypatch.delenv("FOVEATE_CACHE")
    assert plan_cache().folder == Path("/two/foveate/plans")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert plan_cache().folder == Path.home() / ".cache" / "foveate" / "plans"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (replace(OPTIONS, sizes=((0, 5),)), "--size 0x5; expected sides of 1 to"),
        (replace(OPTIONS, optimisation_level=6), "--optimisation-level is 6"),
        (replace(OPTIONS, workspace_mb=-1), "--workspace is -1 MB"),
    ],
)
def test_options_that_cannot_be_built_are_refused(options: BuildOptions, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        options.check(2)
    assert said in str(refused.value)


def test_the_first_size_is_the_usual_one_and_all_bound_the_profile() -> None:
    profile = OPTIONS.profile
    assert (profile.height.min, profile.height.opt, profile.height.max) == (512, 1024, 1024)
    assert (profile.width.min, profile.width.opt, profile.width.max) == (768, 1024, 1024)
    assert set(FLAVOURS) == {"tensorrt", "tensorrt_rtx"}
