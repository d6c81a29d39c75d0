"""What a check names on this machine goes with it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from berry.pipeline.records import Problem
from berry.pipeline.stages.leases.lease import Lease
from berry.pipeline.stages.leases.partition import for_another_host
from berry.verifiers.base import Reason
from berry.verifiers.registry import fault
from berry.verifiers.specs.shipping import with_source_inlined
from berry.verifiers.specs.union import AllOfSpec, AnyOfSpec, CustomSpec, MathSpec, Weighted, WeightedSpec

CHECK = "def polite(response, prompt):\n    return 'please' in response\n"
MATH = MathSpec(answer="1")


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder with checks.py in it; call it to work somewhere else."""
    (tmp_path / "home").mkdir()
    (tmp_path / "away").mkdir()
    (tmp_path / "home" / "checks.py").write_text(CHECK)
    monkeypatch.chdir(tmp_path / "home")
    return lambda: monkeypatch.chdir(tmp_path / "away")


def test_a_relative_file_is_found_where_it_does_not_exist(check, away) -> None:
    spec = CustomSpec(function="checks.py:polite")
    lease = for_another_host(Lease(0, (Problem(id="p", prompt="?", verifier=spec),)))
    away()
    assert check(spec, "please").reason is Reason.MISSING_TOOL
    (there,) = pickle.loads(pickle.dumps(lease)).problems
    assert check(there.verifier, "please").reason is Reason.CORRECT
    assert check(there.verifier, "now").reason is Reason.WRONG_ANSWER


def test_parts_of_compound_checks_are_shipped_too(away) -> None:
    custom = CustomSpec(function="checks.py:polite")
    parts = (MATH, custom)
    for spec in (AllOfSpec(parts=parts), AnyOfSpec(parts=parts)):
        found = with_source_inlined(spec).parts[1]
        assert isinstance(found, CustomSpec)
        assert found.source == CHECK
    weighted = WeightedSpec(parts=(Weighted(weight=1, verifier=MATH), Weighted(weight=2, verifier=custom)))
    found = with_source_inlined(weighted).parts[1].verifier
    assert isinstance(found, CustomSpec)
    assert found.source == CHECK


def test_what_needs_nothing_is_left_as_it_is(away) -> None:
    lease = Lease(0, (Problem(id="p", prompt="?", verifier=MATH),))
    assert for_another_host(lease) is lease
    assert pickle.loads(pickle.dumps(lease)) == lease
    for spec in (CustomSpec(function="json:loads"), AllOfSpec(parts=(MATH,)), CustomSpec(function="gone.py:f")):
        assert with_source_inlined(spec) is spec


def test_a_file_that_is_not_there_is_refused_before_a_run(away) -> None:
    spec = CustomSpec(function="checks.py:polite")
    assert fault(spec) is None
    there = with_source_inlined(spec)
    away()
    assert "there is no file" in str(fault(spec))
    assert fault(there) is None
