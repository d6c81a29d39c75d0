from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rounds import SftTraining
from berry.pipeline.engines import models
from berry.pipeline.errors import ConfigError
from berry.pipeline.stages.training import after_round
from berry.pipeline.stages.training.after_round import _starts_from, check_learning, demands_packing
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.weights_file import RunWeights, Weights


@pytest.mark.parametrize(
    ("start", "trained", "expected"),
    [
        ("base", False, "tiny"),
        ("base", True, "tiny"),
        ("latest", False, "tiny"),
        ("latest", True, "round=0/weights/policy"),
    ],
)
def test_a_fine_tuning_starts_where_it_is_told_to(tmp_path: Path, start, trained: bool, expected: str) -> None:
    now = RunWeights(1, Weights("round=0/weights/policy", "policy-r0") if trained else None, {})
    found = _starts_from(RunDir(locate(tmp_path)), "tiny", SftTraining(start=start), now)
    assert found.endswith(expected)


def test_by_default_it_is_the_base_with_the_trajectories_of_all_rounds() -> None:
    assert SftTraining().start == "base"
    assert SftTraining().learns_from_all_rounds
    assert not SftTraining(start="latest").learns_from_all_rounds, "it has learned from them already"
    assert SftTraining(start="latest", all_rounds=True).learns_from_all_rounds
    assert not SftTraining(all_rounds=False).learns_from_all_rounds


def _config(model: str, packing: str, *, rounds: int = 2) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "r",
            "problems": [{"type": "arithmetic", "count": 4}],
            "engine": {"type": "vllm", "model": model},
            "rounds": {"count": rounds, "policy": {"type": "sft", "packing": packing}},
        }
    )


def test_only_a_demand_for_packs_is_checked_before_the_first_round() -> None:
    assert demands_packing(_config("tiny-arithmetic", "always"))
    assert not demands_packing(_config("tiny-arithmetic", "always", rounds=1)), "a single round trains nothing"
    assert not demands_packing(_config("tiny-arithmetic", "auto"))


def test_a_model_with_a_state_is_refused_before_the_first_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    small = MambaConfig(vocab_size=50, hidden_size=16, state_size=4, num_hidden_layers=1, expand=2)
    MambaForCausalLM(small).save_pretrained(tmp_path / "mamba")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(models.resolve("tiny-arithmetic")) / name, tmp_path / "mamba")
    run = RunDir(locate(tmp_path))
    monkeypatch.setattr(after_round, "stored_config", lambda _run: _config(str(tmp_path / "mamba"), "always"))
    with pytest.raises(ConfigError, match=r"rounds\.policy\.packing is always, and this model can't read packs"):
        check_learning(run)
    monkeypatch.setattr(after_round, "stored_config", lambda _run: _config("tiny-arithmetic", "always"))
    check_learning(run)
