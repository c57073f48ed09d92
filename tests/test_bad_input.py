"""Every bad input of ``docs/errors.md``, as a user meets it: the words, the exit code, no harm."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from foveate.cli import main
from tests.bad.builds import BUILDS
from tests.bad.bundles import BUNDLES
from tests.bad.calls import CALLS, Mistake
from tests.bad.case import Case, Place
from tests.bad.engines import ENGINES
from tests.bad.images import IMAGES
from tests.bad.imports import IMPORTS
from tests.bad.inputs import INPUTS
from tests.bad.packed import PACKED
from tests.bad.trainings import TRAININGS
from tests.bad.volumes import VOLUMES

CASES = [*IMAGES, *VOLUMES, *INPUTS, *BUNDLES, *PACKED, *ENGINES, *BUILDS, *TRAININGS, *IMPORTS]
PAGE = Path(__file__).parents[1] / "docs" / "errors.md"


@pytest.fixture
def place(
    data: Path, trained: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    return Place(tmp_path, data, trained, bundle, monkeypatch)


def told(
    arguments: list[object], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Return exit code and standard error of a command, run as the console script runs it."""
    monkeypatch.setattr(sys, "argv", ["foveate", *map(str, arguments)])
    capfd.readouterr()
    with pytest.raises(SystemExit) as stop:
        main()
    code = stop.value.code
    assert isinstance(code, int)
    return code, capfd.readouterr().err


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.given, marks=[pytest.mark.slow] * case.slow) for case in CASES],
)
def test_a_bad_input_is_told(
    case: Case, place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = case.make(place)
    code, errors = told(arguments, monkeypatch, capfd)
    assert case.matches(errors), errors
    assert code == case.code
    if code == 2:
        lines = [line for line in errors.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1 and lines[0] == errors.splitlines()[-1], errors
        assert not (place.folder / "run").exists()
        assert not list((place.folder / "out").glob("*.png"))
    else:
        assert [path.name for path in (place.folder / "out").glob("*.png")] == ["sound.png"]
        assert (place.folder / "out" / "failures.jsonl").read_text().count("\n") == 1


@pytest.mark.parametrize("mistake", CALLS, ids=lambda mistake: mistake.given)
def test_a_mistake_in_a_program_is_told(
    mistake: Mistake, bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(mistake.error) as raised:
        mistake.make(bundle)
    assert type(raised.value) is mistake.error and mistake.matches(str(raised.value))
    assert capfd.readouterr().out == ""


def test_the_page_quotes_what_is_said() -> None:
    """Every message of the page is one that a case produces, and every case is on the page."""
    row = r"^\| ([^|]+) \| `([^`]+)` \| `?(\d|\w+Error)`? \|$"
    assert set(re.findall(row, PAGE.read_text(), re.MULTILINE)) == {
        *((case.given, case.said.replace("|", "/"), str(case.code)) for case in CASES),
        *((mistake.given, mistake.said, mistake.error.__name__) for mistake in CALLS),
    }
