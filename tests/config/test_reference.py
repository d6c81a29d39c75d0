"""docs/configuration.md is what the models say, and the models say something of every key."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from berry.pipeline.config.plan import PlanConfig
from berry.pipeline.config.reference import _models, meanings, reference, unit
from berry.pipeline.config.run import RunConfig

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "configuration.md"


def sections(model: type[BaseModel], found: set[type[BaseModel]]) -> set[type[BaseModel]]:
    if model not in found:
        found.add(model)
        for field in model.model_fields.values():
            for kind in _models(field.annotation):
                sections(kind, found)
    return found


ALL = sorted(sections(PlanConfig, sections(RunConfig, set())), key=str)


def test_the_page_is_current() -> None:
    remedy = "run: python -m berry.pipeline.config.reference > docs/configuration.md"
    assert PAGE.read_text(encoding="utf-8") == reference(), remedy


@pytest.mark.parametrize("model", ALL, ids=str)
def test_every_key_has_a_meaning_in_a_sentence(model: type[BaseModel]) -> None:
    assert model.__doc__
    meaning = meanings(model)
    for name in model.model_fields:
        if name != "type":
            assert name in meaning, f"{model.__name__}.{name} has no docstring"
            assert meaning[name].rstrip().endswith((".", ")")), f"{model.__name__}.{name}"


def test_links_lead_to_headings_that_there_are() -> None:
    text = PAGE.read_text(encoding="utf-8")
    headings = {slug(line.lstrip("# ")) for line in text.splitlines() if line.startswith("#")}
    links = {part.split(")")[0] for part in text.split("](#")[1:]}
    assert len(links) > 50
    assert links <= headings


def slug(heading: str) -> str:
    """Of a heading, as GitHub and MkDocs make it."""
    kept = "".join(c for c in heading.lower() if c.isalnum() or c in "_- ")
    return kept.strip().replace(" ", "-")


def test_units_follow_from_names() -> None:
    assert [unit(k) for k in ("wall_s", "max_tokens", "tokens_per_s", "memory_gib", "count", "learning_rate")] == [
        "s",
        "tokens",
        "tokens/s",
        "GiB",
        "",
        "",
    ]
