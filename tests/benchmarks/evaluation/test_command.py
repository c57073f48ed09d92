"""``foveate evaluate`` from the command line: files, figures that agree, mistakes named."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from foveate.benchmarks.evaluation.models import EvaluationJob
from foveate.runtime import Cascade
from foveate.runtime.agreement import dice
from foveate.runtime.errors import BundleError, DataError, EngineError, SettingsError
from foveate.train.runs.run import read_run, write_run
from tests.conftest import run
from tests.train.data.test_dataset import make


def figures(*arguments: object) -> dict[str, Any]:
    result = run("evaluate", *arguments, "--json")
    assert result.exception is None, result.exception
    values = json.loads(result.output)
    assert isinstance(values, dict)
    return values


def mistake(*arguments: object) -> tuple[type[BaseException], str]:
    """Return type and text of the error; one line."""
    error = run("evaluate", *arguments).exception
    assert error is not None and "\n" not in str(error)
    return type(error), str(error)


@pytest.fixture(scope="module")
def summary(written: tuple[Path, str]) -> dict[str, Any]:
    values = json.loads((written[0] / "summary.json").read_text())
    assert isinstance(values, dict)
    return values


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_run_and_its_bundle_say_the_same(
    trained: Path, bundle: Path, data: Path, tmp_path: Path
) -> None:
    one, other = (
        figures(model, data, "--list", data / "test.txt", "--csv", tmp_path / "dice.csv")
        for model in (trained, bundle)
    )
    assert len(rows(tmp_path / "dice.csv")) == 2 * 2
    assert (one["model"]["form"], other["model"]["form"]) == ("run", "bundle")
    assert one["data"] == other["data"]
    for mine, yours in zip(one["figures"], other["figures"], strict=True):
        assert mine["method"] == yours["method"]
        for name in ("dice", "iou", "precision", "recall", "surface_dice"):
            assert mine[name]["value"] == pytest.approx(yours[name]["value"], abs=5e-4)
    for mine, yours in zip(one["calibration"], other["calibration"], strict=True):
        assert mine["ece"] == pytest.approx(yours["ece"], abs=1e-4)


def test_the_terminal_shows_the_figures_of_the_json(
    written: tuple[Path, str], summary: dict[str, Any]
) -> None:
    shown = written[1]
    assert max(len(line) for line in shown.splitlines()[:-1]) <= 110
    methods = []
    for item in summary["figures"]:
        if item["class"] == "mean":
            continue
        (line,) = [x for x in shown.splitlines() if x.startswith(f"{item['method']:<7}  lesion")]
        methods.append(item["method"])
        assert f" {item['dice']['value']:.3f} " in line
        assert f"[{item['dice']['low']:.3f}, {item['dice']['high']:.3f}]" in line
        assert f" {item['hd95']['value']:.1f} " in line
        assert line.split()[-2:] == [str(item["images"]), str(item["both_empty"])]
    assert methods == ["stage 1", "cascade", "single"]
    assert {item["against"] for item in summary["differences"]} == {"stage 1", "single"}
    for item in summary["differences"]:
        assert f"cascade - {item['against']}" in shown
    assert f"{summary['coarse_miss']['pooled']:.2%} of its pixels" in shown
    for item in summary["calibration"]:
        assert f"{item['method']} {item['ece']:.4f}" in shown
    assert "rest on 12 groups only" in shown


def test_the_means_are_those_of_the_csv(written: tuple[Path, str], summary: dict[str, Any]) -> None:
    lines = rows(written[0] / "images.csv")
    assert len(lines) == 12 * 3
    for item in summary["figures"]:
        ours = [row for row in lines if row["method"] == item["method"] and row["dice"]]
        assert item["images"] == len(ours)
        for name in ("dice", "precision", "hd95"):
            mean = np.mean([float(row[name]) for row in ours])
            assert item[name]["value"] == pytest.approx(mean, abs=1e-5)
            assert item[name]["low"] <= item[name]["value"] <= item[name]["high"]


def test_every_object_of_the_truth_has_a_line(
    written: tuple[Path, str], summary: dict[str, Any], data: Path
) -> None:
    lines = [row for row in rows(written[0] / "objects.csv") if row["method"] == "cascade"]
    count, area = 0, 0
    for path in (data / "masks").iterdir():
        mask = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        count += cv2.connectedComponents(mask, connectivity=8)[0] - 1
        area += int(np.count_nonzero(mask))
    assert len(lines) == count and sum(int(row["area"]) for row in lines) == area
    found = next(item for item in summary["objects"] if item["method"] == "cascade")
    assert found["found"] == sum(int(row["found"]) for row in lines)
    bins = [item for item in summary["objects_by_size"] if item["method"] == "cascade"]
    assert sum(item["objects"] for item in bins) == count


def test_the_json_names_what_was_measured_and_no_path(
    written: tuple[Path, str], summary: dict[str, Any], bundle: Path, nasty_data: Path
) -> None:
    assert summary["schema"] == 1 and summary["settings"]["tolerance_pixels"] == 2.0
    assert (summary["model"]["name"], summary["single"]["form"]) == ("tiny.bundle", "run")
    assert summary["data"]["images"] == 12 and len(summary["data"]["fingerprint"]) == 64
    assert {"foveate", "numpy", "opencv", "surface-distance"} <= set(summary["versions"])
    assert summary["model"]["engine"].startswith("onnxruntime ")
    text = (written[0] / "summary.json").read_text()
    for path in (bundle, nasty_data, written[0]):
        assert str(path) not in text and str(path.parent) not in text


def test_masks_are_read_by_options_or_as_the_run_read_its_own(
    bundle: Path, trained: Path, data: Path, tmp_path: Path
) -> None:
    root, own = tmp_path / "odd", tmp_path / "run"
    shutil.copytree(data, root)
    expected = {}
    for path in (root / "masks").iterdir():
        image = cv2.imread(str(root / "images" / path.name), cv2.IMREAD_UNCHANGED)
        truth = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)) // 255
        left = Cascade.load(bundle)(image).mask[:, :80], truth[:, :80]
        expected[path.stem] = dice(*left, 1)
        cv2.imwrite(str(path), np.where(np.arange(160) < 80, truth * 9, 7).astype(np.uint8))
    assert np.nanmax(list(expected.values())) > 0
    options = ("--mask-values", "lesion=9", "--ignore-value", "7")
    found = figures(bundle, root, *options, "--csv", tmp_path / "dice.csv")
    for row in rows(tmp_path / "dice.csv"):
        if row["method"] == "cascade":
            hand = expected[row["stem"]]
            assert row["dice"] == ("" if np.isnan(hand) else f"{hand:.6f}")
    shutil.copytree(trained, own)
    record = read_run(own)
    record["settings"] |= {"mask_values": "lesion=9", "ignore_value": 7}
    write_run(own, record)
    (tmp_path / "all.txt").write_text("\n".join(expected))
    by_run = figures(own, root, "--list", tmp_path / "all.txt")
    for ours, theirs in zip(by_run["figures"], found["figures"], strict=True):
        assert ours["dice"]["value"] == pytest.approx(theirs["dice"]["value"], abs=5e-4)
    kept, again = tmp_path / "kept.bundle", tmp_path / "again.bundle"
    for source, target in ((own, kept), (kept, again)):  # a bundle keeps the settings, a copy too
        result = run("export", source, "--out", target, "--data", root)
        assert result.exception is None, result.exception
    assert figures(again, root)["figures"] == found["figures"]
    result = run("benchmark", "parity", again, root, "--engines", "onnxruntime")
    assert result.return_value == 0, result.output
    kind, text = mistake(bundle, root, "--mask-values", "vessel=9", "--ignore-value", "7")
    assert kind is SettingsError and 'does not know "vessel"; it knows lesion' in text


def test_groups_and_tolerance_of_the_user_are_taken(
    bundle: Path, data: Path, tmp_path: Path
) -> None:
    grouped = tmp_path / "grouped"
    shutil.copytree(data, grouped)
    stems = sorted(path.stem for path in (data / "images").iterdir())
    lines = [f"{stem}\tpatient {index // 6}\n" for index, stem in enumerate(stems)]
    (grouped / "groups.tsv").write_text("".join(lines))
    apart, together = figures(bundle, data), figures(bundle, grouped, "--tolerance", 50)
    assert (apart["data"]["groups"], together["data"]["groups"]) == (12, 2)
    one, other = apart["figures"][0], together["figures"][0]
    assert one["dice"]["value"] == pytest.approx(other["dice"]["value"], rel=1e-12)
    assert (one["dice"]["low"], one["dice"]["high"]) != (
        other["dice"]["low"],
        other["dice"]["high"],
    )
    assert one["surface_dice"]["value"] < other["surface_dice"]["value"]


def test_a_single_alone_is_one_method_without_a_box(single: Path, data: Path) -> None:
    values = figures(single, data)
    assert {item["method"] for item in values["figures"]} == {"single"}
    assert values["coarse_miss"] is None and values["differences"] == []


def test_a_run_is_evaluated_on_its_validation_images(trained: Path, data: Path) -> None:
    record = json.loads((trained / "run.json").read_text())
    result = run("evaluate", trained, data)
    assert f"{len(record['data']['validation'])} images of" in result.output
    assert "stage 1" in result.output and "cascade" in result.output


def test_a_wrong_single_is_named(
    bundle: Path, single: Path, trained: Path, data: Path, tmp_path: Path
) -> None:
    kind, text = mistake(bundle, data, "--single", trained)
    assert kind is BundleError and "run is a cascade" in text and "--stages single" in text
    other = tmp_path / "other"
    shutil.copytree(single, other)
    record = read_run(other)
    record["spec"]["classes"] = ["background", "class 1"]
    write_run(other, record)
    kind, text = mistake(bundle, data, "--single", other)
    assert kind is BundleError and "class 1" in text and "lesion" in text
    kind, text = mistake(single, data, "--single", single)
    assert kind is BundleError and "single network itself" in text


def test_classes_that_no_mask_holds_are_named(
    bundle: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "No mask holds" not in run("evaluate", bundle, data).output
    classes = property(lambda job: ("lesion", "vessel"))
    monkeypatch.setattr(EvaluationJob, "classes", classes)
    assert "No mask holds vessel: " in run("evaluate", bundle, data).output


def test_a_path_that_is_not_a_model_is_named(data: Path, bundle: Path, tmp_path: Path) -> None:
    for arguments in ((tmp_path, data), (bundle, data, "--single", tmp_path)):
        kind, text = mistake(*arguments)
        assert kind is BundleError and "neither a bundle" in text and str(tmp_path) in text


def test_bad_data_is_named_before_any_work(
    bundle: Path, trained: Path, data: Path, tmp_path: Path
) -> None:
    kind, text = mistake(bundle, make(tmp_path / "classes", (0, 1, 2, 3)))
    assert kind is DataError and "masks of 3 classes" in text and "i0" in text and "lesion" in text
    stems = tmp_path / "list.txt"
    for content, said in (("nobody\n", "nobody"), ("\n", "empty")):
        stems.write_text(content)
        kind, text = mistake(bundle, data, "--list", stems)
        assert kind is DataError and said in text
    root = make(tmp_path / "d", (0, 255))
    kind, text = mistake(trained, root)
    assert kind is DataError and "have no image" in text and "--list" in text
    (root / "masks" / "i1.png").unlink()
    kind, text = mistake(bundle, root)
    assert kind is DataError and "no mask: i1" in text
    cv2.imwrite(str(root / "masks" / "i1.png"), np.zeros((9, 9), np.uint8))
    kind, text = mistake(bundle, root)
    assert kind is DataError and "9x9" in text and "16x16" in text


def test_options_that_cannot_work_are_named(bundle: Path, data: Path, tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    kind, text = mistake(bundle, data, "--out", taken)
    assert kind is SettingsError and str(taken) in text and "folder" in text
    kind, text = mistake(bundle, data, "--csv", tmp_path / "none" / "a.csv")
    assert kind is SettingsError and "none" in text
    for value in ("-1", "nan", "inf"):
        kind, text = mistake(bundle, data, "--tolerance", value)
        assert kind is SettingsError and "--tolerance" in text


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_a_bundle_is_evaluated_without_torch(bundle: Path, data: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from foveate.cli import group; "
        f"group.main(['evaluate', {str(bundle)!r}, {str(data)!r}, '--out', {str(tmp_path)!r}], "
        "standalone_mode=False); "
        "print([n for n in ('torch', 'onnx', 'albumentations', 'safetensors') if n in sys.modules])"
    )
    assert python(code) == "[]"


def test_a_missing_library_names_the_install_line(bundle: Path, data: Path) -> None:
    code = (
        "import sys; sys.modules['surface_distance'] = None\n"
        "from foveate.cli import group\n"
        f"try: group.main(['evaluate', {str(bundle)!r}, {str(data)!r}], standalone_mode=False)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    said = python(code)
    assert said.startswith(EngineError.__name__) and "pip install 'foveate[evaluate]'" in said


def test_the_demo_does_without_the_library() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('surface_distance', 'scipy', 'torch')))\n"
        "import foveate.benchmarks.demo, foveate.benchmarks.cli; print('ok')"
    )
    assert python(code) == "ok"
