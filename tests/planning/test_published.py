"""Other people's figures by this plan's arithmetic, agreeing or not; docs/planning.md states what comes out here."""

from __future__ import annotations

from pathlib import Path

import pytest

from berry.pipeline.config.plan import Calibration
from berry.pipeline.planning.formulas import roofline
from berry.pipeline.planning.formulas.roofline import EngineModel
from berry.pipeline.planning.models import model_sheet
from berry.pipeline.planning.sheets import accelerator

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "planning.md").read_text(encoding="utf-8")
PEAK = Calibration(compute_efficiency=1, memory_efficiency=1, step_overhead_ms=0, memory_share=1)


def row(what: str) -> list[str]:
    """The cells of the line of the page's table that begins with `what`."""
    line = next(line for line in PAGE.splitlines() if line.startswith(f"| {what}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def states(what: str, published: str, ours: str, ratio: float) -> None:
    cells = row(what)
    assert cells[1].startswith(published)
    assert cells[2].startswith(ours)
    assert float(cells[3]) == pytest.approx(ratio, rel=0.05)


def test_one_reasoning_run_is_more_work_than_is_published_for_it() -> None:
    flop = 2 * 37e9 * 20e12
    states("one reasoning run", "6e23", f"{flop:.3g}".replace("+", ""), flop / 6e23)
    assert pytest.approx(8.1e12, rel=0.01) == 6e23 / (2 * 37e9)


def test_the_published_hours_are_a_fifth_of_peak_where_the_default_is_half() -> None:
    peak = accelerator("h100").flops("bf16")
    hours = 1e23 / (peak * Calibration().compute_efficiency) / 3600
    states("H100-hours for 1e23 FLOP", "140,000", f"{hours:,.0f}", hours / 140_000)
    assert 1e23 / (140_000 * 3600 * peak) == pytest.approx(0.20, abs=0.005)


def test_ten_million_problems_are_other_work_than_an_ordinary_sampling_run() -> None:
    tokens = 1e7 * 32 * 1500
    states("10 M problems", "3e14", f"{tokens:.2g}".replace("+", ""), tokens / 3e14)
    assert pytest.approx(94, abs=1) == 3e10 / 1e7 / 32
    flop = 2 * model_sheet("llama-3.1-8b").active_parameters * 3e14
    assert flop == pytest.approx(4.8e24, rel=0.01)
    assert flop / (accelerator("h100").flops("bf16") * 0.2) / 3600 == pytest.approx(6.8e6, rel=0.01)


@pytest.fixture
def article() -> EngineModel:
    """Llama-3.1-405B in 8 bits on 8 H100, the bare roofline."""
    model, device = model_sheet("llama-3.1-405b"), accelerator("h100")
    return EngineModel(model, device, 8, "fp8", "fp8", PEAK, communicates=False)


@pytest.mark.parametrize(("context", "published", "ours"), [(775, 368, 645), (7661, 72, 246)])
def test_at_the_published_speed_the_roofline_allows_more_sequences_than_published(
    article: EngineModel, context: int, published: int, ours: int
) -> None:
    assert roofline.largest_batch_by_speed(article, context, 30) == ours
    states(f"sequences at once, {context:,} tokens", str(published), str(ours), ours / published)


def test_the_published_batches_come_out_at_another_speed_than_is_stated(article: EngineModel) -> None:
    at = {c: [roofline.largest_batch_by_speed(article, c, v) for v in (48, 53)] for c in (775, 7661)}
    assert at == {775: [403, 365], 7661: [77, 50]}
    assert "gives 365 to 403 and 50 to 77" in PAGE
    assert roofline.largest_batch_by_memory(article, 7661) == 118
    default = EngineModel(article.model, article.device, 8, "fp8", "fp8", Calibration())
    assert [roofline.largest_batch_by_speed(default, c, 30) for c in (775, 7661)] == [167, 52]


def test_a_token_of_a_long_answer_costs_less_more_than_published(article: EngineModel) -> None:
    ratio = 645 / 246
    states("cost a token", f"{368 / 72:.1f}", f"{ratio:.1f}", ratio / (368 / 72))
