"""The stand-in of the tests, and the errors of a plan, held against the real bindings.

That each call we make is there, by name and arguments: tests/export/tensorrt/test_calls.py.
"""

from __future__ import annotations

import pytest

from foveate.runtime.engines.tensorrt.plan import Plan, PlanFacts
from foveate.runtime.errors import EngineError
from tests.runtime.engines.tensorrt import standin_tensorrt

KINDS = ("ICudaEngine", "IExecutionContext", "IRuntimeConfig", "IRuntimeCache", "ILogger")
UNETS = {"output_shapes", "run"}
"""What the stand-in needs for itself."""


@pytest.mark.parametrize("kind", KINDS)
def test_the_stand_in_invents_no_names(kind: str) -> None:
    real = pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    names = {name for name in vars(getattr(standin_tensorrt, kind)) if not name.startswith("_")}
    assert names
    assert [name for name in names - UNETS if not hasattr(getattr(real, kind), name)] == []


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt_rtx"])
def test_the_real_bindings_refuse_a_plan_with_their_reason(flavour: str) -> None:
    pytest.importorskip(flavour, exc_type=ImportError)
    with pytest.raises(EngineError, match="refuses the plan that 0 built: .*[Ss]erializ.*B$"):
        Plan(b"this is no plan " * 100, PlanFacts(flavour, "0", "B"))
