"""The examples of docs/verifiers.md are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from berry.verifiers.specs.base import LENIENT, STRICT
from berry.verifiers.specs.union import OWN_KINDS, MathSpec

PAGE = (Path(__file__).parents[2] / "docs" / "verifiers.md").read_text("utf-8")
EXAMPLE = re.compile(r"^\| `(.+?)` \| `(.+?)` \| (pass|fail) \| (pass|fail) \| (?:`(\w+)` )?\|$", re.MULTILINE)
SETTING = re.compile(r"^\| `(\w+)` \| `?(\w+)`?[:;].* \| `?([\w.-]+)`? \|$", re.MULTILINE)


@pytest.mark.parametrize("preset", ["strict", "lenient"])
def test_every_example_has_the_verdict_it_states(check_all, preset: str) -> None:
    examples = EXAMPLE.findall(PAGE)
    assert len(examples) >= 30
    strictness = STRICT if preset == "strict" else LENIENT
    verdicts = check_all([(MathSpec(answer=e[0], strictness=strictness), f"\\boxed{{{e[1]}}}") for e in examples])
    stated = [e[2] if preset == "strict" else e[3] for e in examples]
    assert [str(verdict.outcome) for verdict in verdicts] == stated


def test_every_kind_is_named_with_an_example() -> None:
    """That each example is one that a problem file may have is for tests/docs/test_blocks.py."""
    shown = set(re.findall(r'"verifier": \{"type": "(\w+)"', PAGE))
    of_the_run = {"any_of", "weighted", "environment", "reasoning_gym"}
    assert shown | of_the_run == {*OWN_KINDS, "all_of", "any_of", "weighted"}
    assert all(f"`{name}`" in PAGE for name in of_the_run)


def test_the_settings_and_the_presets_are_those_of_the_code() -> None:
    settings = {name: (strict, lenient) for name, strict, lenient in SETTING.findall(PAGE)}
    for name in type(STRICT).model_fields:
        shown = (str(getattr(preset, name)) for preset in (STRICT, LENIENT))
        assert settings[name] == tuple(text.removesuffix(".0").replace("0.0001", "1e-4") for text in shown)
