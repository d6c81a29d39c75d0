"""Memory and time of an engine, counted by hand; time never falls as work grows."""

from __future__ import annotations

import pytest

from berry.pipeline.config.plan import Calibration
from berry.pipeline.errors import ConfigError
from berry.pipeline.planning.formulas import roofline
from berry.pipeline.planning.formulas.roofline import EngineModel
from berry.pipeline.planning.models import model_sheet
from berry.pipeline.planning.sheets import Dtype, accelerator


def engine(model: str, device: str, devices: float, dtype: Dtype, calibration: Calibration) -> EngineModel:
    return EngineModel(model_sheet(model), accelerator(device), devices, dtype, dtype, calibration)


def test_39_000_tokens_of_batch_64_fill_640_gb() -> None:
    assert roofline.kv_bytes(model_sheet("llama-3.1-405b"), 64, 39_000, "fp8") == pytest.approx(640e9, rel=0.01)


def test_beside_405_gb_of_weights_the_rest_is_full_at_14_to_16_thousand_tokens(peak: Calibration) -> None:
    eight = engine("llama-3.1-405b", "h100", 8, "fp8", peak)
    assert eight.weight_bytes == pytest.approx(405e9, rel=0.01)
    assert eight.kv_budget_bytes == pytest.approx(235e9, rel=0.01)
    length = eight.kv_budget_bytes / roofline.kv_bytes(eight.model, 64, 1, "fp8")
    assert 14_000 <= length <= 16_000


def test_each_device_holds_a_latent_cache_whole(peak: Calibration) -> None:
    """vLLM, tensor parallel: 576 values a layer and token on every device, so that eight hold no more than one."""
    eight = engine("deepseek-v3", "h200", 8, "fp8", peak)
    held = eight.kv_budget_bytes / 8 / (61 * 576)
    assert roofline.largest_batch_by_memory(eight, 1000) == int(held / 1000)
    assert roofline.kv_bytes(eight.model, 3, 1000, "fp8", 8) == 8 * 3 * 1000 * 61 * 576


def test_kv_formula_is_the_one_of_the_docstring() -> None:
    m = model_sheet("llama-3.1-70b")
    assert roofline.kv_bytes(m, 3, 1000, "bf16") == 3 * 1000 * 2 * 80 * (8192 / 64 * 8) * 2
    assert roofline.attention_flops(m, 1000) == 4 * 64 * 80 * 128 * 1000


def test_decoding_is_bound_by_memory_and_prefill_by_arithmetic(peak: Calibration) -> None:
    one = engine("llama-3.1-8b", "h100", 1, "bf16", peak)
    assert roofline.decode_step_s(one, 1, 0) == pytest.approx(2 * 8.03e9 / 3.35e12, rel=0.01)
    assert roofline.prefill_s(one, 100_000) > 100_000 * 2 * 8.03e9 / 989.4e12


def test_steps_take_longer_with_more_sequences_and_longer_contexts(peak: Calibration) -> None:
    one = engine("llama-3.1-8b", "h100", 1, "bf16", peak)
    steps = [roofline.decode_step_s(one, b, 1000) for b in (1, 8, 64, 512, 4096)]
    assert steps == sorted(steps)
    assert roofline.decode_step_s(one, 64, 4000) > roofline.decode_step_s(one, 64, 1000)
    per_token = [s / b for s, b in zip(steps, (1, 8, 64, 512, 4096), strict=True)]
    assert per_token == sorted(per_token, reverse=True)


def test_the_largest_batch_by_speed_is_the_last_that_is_fast_enough(peak: Calibration) -> None:
    one = engine("llama-3.1-8b", "h100", 1, "bf16", peak)
    batch = roofline.largest_batch_by_speed(one, 1000, 50)
    assert roofline.decode_step_s(one, batch, 1000) <= 1 / 50 < roofline.decode_step_s(one, batch + 1, 1000)
    assert roofline.largest_batch_by_speed(one, 1000, 10_000) == 0


def test_a_batch_of_one_reads_only_the_experts_it_passes(peak: Calibration) -> None:
    moe = engine("deepseek-v3", "h200", 8, "fp8", peak)
    assert roofline.weights_read_bytes(moe, 1) == pytest.approx(moe.model.active_parameters, rel=1e-6)
    assert roofline.weights_read_bytes(moe, 10_000) == pytest.approx(moe.model.parameters, rel=1e-6)


def test_a_model_that_does_not_fit_is_refused_with_the_arithmetic(peak: Calibration) -> None:
    small = engine("llama-3.1-70b", "h100", 1, "bf16", peak)
    with pytest.raises(ConfigError, match=r"70\.55 B parameters × 2 bytes = 141\.1 GB .* at least 2 devices"):
        _ = small.kv_budget_bytes


def test_a_missing_sheet_value_is_named(peak: Calibration) -> None:
    with pytest.raises(ConfigError, match="a100 gives no fp8 rate"):
        _ = engine("llama-3.1-8b", "a100", 1, "fp8", peak).flops
    with pytest.raises(ConfigError, match="rtx4090 gives no link_gb_per_s"):
        roofline.decode_step_s(engine("llama-3.1-8b", "rtx4090", 2, "bf16", peak), 1, 100)


def test_a_measured_speed_is_used_on_the_device_it_was_measured_on() -> None:
    measured = Calibration(engine_scale=0.5, device="h100")
    plain = Calibration()
    for device, factor in (("h100", 2.0), ("a100", 1.0)):
        slow = roofline.decode_step_s(engine("llama-3.1-8b", device, 1, "bf16", measured), 8, 500)
        fast = roofline.decode_step_s(engine("llama-3.1-8b", device, 1, "bf16", plain), 8, 500)
        assert slow / fast == pytest.approx(factor)
