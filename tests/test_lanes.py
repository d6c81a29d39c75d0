"""How the tests are shared between workers."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def test_every_unit_that_is_known_to_be_long_is_there(lanes: Any) -> None:
    for unit in (*lanes.SECONDS, *lanes.ONE_ENGINE):
        file, _, test = unit.partition("::")
        assert (ROOT / file).is_file(), unit
        assert f"def {test}" in (ROOT / file).read_text(), unit


def test_what_shares_an_engine_stays_together_and_a_long_test_goes_alone(lanes: Any) -> None:
    assert lanes.unit_of("tests/engines/vllm/test_engine.py::test_a") == lanes.unit_of(
        "tests/engines/test_recompute.py::test_b"
    )
    assert lanes.unit_of("tests/core/test_tree.py::test_a[1]") == "tests/core/test_tree.py"
    alone = next(unit for unit in lanes.SECONDS if "::" in unit)
    assert lanes.unit_of(f"{alone}[one-way]") == alone


def test_a_worker_takes_the_longest_of_its_lane_and_then_of_the_fullest(lanes: Any) -> None:
    sharing = lanes.Lanes.__new__(lanes.Lanes)
    one = "tests/cluster/test_submit.py"
    units = (one, "tests/cluster/test_faults.py", "tests/core/test_tree.py", "tests/engines/test_contract.py")
    sharing.workqueue = OrderedDict((unit, {f"{unit}::test": False}) for unit in units)
    taken = []
    for worker in (0, 1, 2, 2):
        taken.append(sharing._next(worker))
        del sharing.workqueue[taken[-1]]
    assert taken == ["tests/cluster/test_faults.py", "tests/engines/test_contract.py", "tests/core/test_tree.py", one]
