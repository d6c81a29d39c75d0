"""Every shipped sheet loads, states its sources, and agrees with what is published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from berry.pipeline.config.reading.loading import read_yaml, validate
from berry.pipeline.config.reading.shipped import configs_dir, names
from berry.pipeline.errors import ConfigError
from berry.pipeline.planning.models import from_hf, model_sheet
from berry.pipeline.planning.sheets import Accelerator, CpuHost, Prices, accelerator, hardware, prices

WANTED = {"h100", "h200", "b200", "gb200", "trainium2", "a100", "mi300x"}


def test_the_hardware_that_the_plan_is_for_is_there() -> None:
    assert set(names("hardware")) >= WANTED
    assert any(isinstance(hardware(n), CpuHost) for n in names("hardware"))


@pytest.mark.parametrize("name", names("hardware"))
def test_every_number_of_a_hardware_sheet_has_a_source(name: str) -> None:
    sheet = hardware(name)
    assert isinstance(sheet, Accelerator | CpuHost)
    assert sheet.name == name
    assert all(source.what for source in sheet.sources)


def test_a_number_without_a_source_is_refused() -> None:
    raw = {"name": "x", "memory_gb": 80, "memory_gb_per_s": 1, "tflops": {"bf16": 1}, "watts": 5}
    source = {"values": ["memory_gb", "memory_gb_per_s", "tflops"], "what": "a datasheet"}
    with pytest.raises(ConfigError, match="no source names watts"):
        validate({**raw, "sources": [source]}, Accelerator, where="x.yaml")


@pytest.mark.parametrize("value", [0, -80, 1e9, float("nan")])
def test_absurd_memory_is_refused(value: float) -> None:
    raw = read_yaml(configs_dir() / "hardware" / "h100.yaml")
    with pytest.raises(ConfigError, match="memory_gb"):
        validate({**raw, "memory_gb": value}, Accelerator, where="h100.yaml")


def test_a_cpu_is_no_accelerator() -> None:
    with pytest.raises(ConfigError, match=r"epyc-9654 is of a CPU; an accelerator is wanted: a100, b200"):
        accelerator("epyc-9654")


def test_the_rack_has_the_memory_and_speed_that_its_specification_says() -> None:
    sheet = accelerator("gb200")
    assert 72 * sheet.memory_gb == pytest.approx(13_400, rel=0.01)
    assert 72 * sheet.memory_gb_per_s == pytest.approx(576_000)
    assert 72 * sheet.tflops["fp8"] * 2 == pytest.approx(720_000)


def test_prices_name_hardware_that_there_is() -> None:
    assert set(prices("list").accelerator_hour) <= set(names("hardware"))


def test_a_negative_price_is_refused() -> None:
    source = {"values": ["core_hour"], "what": "a price list"}
    with pytest.raises(ConfigError, match="core_hour"):
        validate({"core_hour": -1, "sources": [source]}, Prices, where="p.yaml")


@pytest.mark.parametrize("name", names("models"))
def test_parameters_counted_from_the_config_are_those_published(name: str) -> None:
    published = read_yaml(configs_dir() / "models" / f"{name}.yaml")["published_parameters"]
    assert model_sheet(name).parameters == pytest.approx(published, rel=0.005)


def test_a_mixture_of_experts_uses_few_of_its_parameters() -> None:
    assert model_sheet("deepseek-v3").active_parameters == pytest.approx(37e9, rel=0.02)
    assert model_sheet("deepseek-v3").kv_values == 61 * (512 + 64)


LLAMA_8B = read_yaml(configs_dir() / "models" / "llama-3.1-8b.yaml")["config"]  # 32 layers, 8 KV heads


@pytest.mark.parametrize(
    ("changes", "windowed"),
    [
        ({}, 0),
        ({"sliding_window": 4096}, 32),  # Mistral 7B v0.1
        ({"sliding_window": 4096, "use_sliding_window": False, "max_window_layers": 28}, 0),  # Qwen2.5
        ({"sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 28}, 4),
        ({"sliding_window": 1024, "sliding_window_pattern": 6}, 27),  # Gemma 3: one in six looks back without limit
        ({"sliding_window": 4096, "model_type": "gemma2"}, 16),
        ({"sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"] * 16}, 16),  # gpt-oss
    ],
)
def test_layers_with_a_window_are_counted_as_each_family_lists_them(changes: dict[str, object], windowed: int) -> None:
    sheet = from_hf({**LLAMA_8B, **changes}, name="x")
    assert sheet.windowed_layers == windowed
    assert (sheet.window is not None) == (windowed > 0)


def test_a_layer_with_a_window_keeps_and_reads_no_more_than_it() -> None:
    half = from_hf({**LLAMA_8B, "sliding_window": 1000, "layer_types": ["sliding_attention", "x"] * 16}, name="x")
    assert half.looked_back(500) == 500
    assert half.looked_back(9000) == (1000 + 9000) / 2


def test_heads_are_divided_among_devices_as_far_as_they_go_and_a_latent_cache_is_not() -> None:
    llama, deepseek = model_sheet("llama-3.1-8b"), model_sheet("deepseek-v3")
    assert [llama.kv_copies(n) for n in (0.5, 1, 8, 16)] == [1, 1, 1, 2]
    assert [deepseek.kv_copies(n) for n in (1, 8, 16)] == [1, 8, 16]


def test_a_model_can_be_a_folder_with_a_config(tmp_path: Path) -> None:
    config = read_yaml(configs_dir() / "models" / "smollm2-135m.yaml")["config"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    here, shipped = model_sheet(str(tmp_path)), model_sheet("smollm2-135m")
    assert (here.parameters, here.kv_values) == (shipped.parameters, shipped.kv_values)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"num_hidden_layers": -3}, "num_hidden_layers must be a number above 0, got -3"),
        ({"num_key_value_heads": 7}, "is not a multiple of num_key_value_heads 7"),
        ({"vocab_size": "many"}, "vocab_size must be a number"),
    ],
)
def test_a_config_that_can_not_be_used_says_which_key(change: dict[str, object], why: str) -> None:
    config = {**read_yaml(configs_dir() / "models" / "llama-3.1-8b.yaml")["config"], **change}
    with pytest.raises(ConfigError, match=why):
        from_hf(config, name="x")


def test_an_unknown_model_says_what_to_give() -> None:
    with pytest.raises(ConfigError, match=r"'gpt-9': neither a shipped sheet .* nor a config.json"):
        model_sheet("gpt-9")


def test_a_model_is_known_by_its_hugging_face_id() -> None:
    assert model_sheet("Qwen/Qwen3-8B") == model_sheet("qwen3-8b")
    with pytest.raises(ConfigError, match="neither a shipped sheet"):
        model_sheet("Qwen/Qwen3-9B")
