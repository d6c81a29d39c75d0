"""TRL reads the exports as they are and trains on them: the very ids that were sampled, five steps each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.engines import models
from berry.pipeline.stages.export.export import ExportRequest, export
from berry.pipeline.storage.run.directory import RunDir
from tests.stages.export.conftest import ENDS

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
trl = pytest.importorskip("trl", reason="TRL is not installed (pip install 'berry-pipeline[dev]')")

MODEL = models.resolve("tiny-arithmetic")
STEPS = 5


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other take seconds a step on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def loaded(written_run: Callable[..., RunDir], tmp_path: Path) -> Callable[..., Any]:
    """loaded("sft", tokens=True) -> the file as `datasets` loads it."""
    from datasets import load_dataset

    def load(name: str, **request: Any) -> Any:
        folder = tmp_path / f"{name}-{len(request)}"
        run = written_run("ends", engine={"chat_template": ENDS})
        export(run, ExportRequest(name, heldout_share=0.0, **request), str(folder))
        return load_dataset("parquet", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache"))

    return load


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    return {
        "output_dir": str(tmp_path / "trained"),
        "max_steps": STEPS,
        "logging_steps": STEPS,
        "per_device_train_batch_size": 4,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
    }


def tokenizer() -> Any:
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(MODEL)
    loaded.chat_template = ENDS
    return loaded


def policy() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(MODEL)


def scorer() -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(MODEL, num_labels=1)


def trained(trainer: Any) -> Any:
    """The trainer's losses must be numbers; returns what it made of the data set."""
    done = trainer.train()
    assert done.global_step == STEPS
    assert done.training_loss == pytest.approx(done.training_loss), "not a number"
    return trainer.train_dataset


def test_sft_trains_on_the_sampled_ids_from_text_as_from_tokens(loaded, arguments: dict[str, Any]) -> None:
    config = trl.SFTConfig(**arguments)
    made = [
        trained(
            trl.SFTTrainer(policy(), args=config, train_dataset=loaded("sft", **asked), processing_class=tokenizer())
        )
        for asked in ({}, {"tokens": True})
    ]
    tokens = loaded("sft", tokens=True, source="kept")
    for data in made:
        assert data["input_ids"] == tokens["input_ids"]
        assert data["labels"] == tokens["labels"]


@pytest.mark.parametrize("name", ["dpo", "pairs"])
def test_dpo_trains_on_the_sampled_ids(loaded, arguments: dict[str, Any], name: str) -> None:
    trainer = trl.DPOTrainer(
        policy(), args=trl.DPOConfig(**arguments), train_dataset=loaded(name), processing_class=tokenizer()
    )
    read, tokens = trained(trainer), loaded(name, tokens=True)
    for side in ("chosen", "rejected"):
        whole = [row["prompt_ids"] + row[f"{side}_ids"] for row in read]
        assert whole == tokens[f"{side}_ids"]


def test_a_reward_model_trains_on_the_sampled_ids_from_text_as_from_tokens(loaded, arguments: dict[str, Any]) -> None:
    config = trl.RewardConfig(**arguments)
    made = [
        trained(
            trl.RewardTrainer(
                scorer(), args=config, train_dataset=loaded("pairs", **asked), processing_class=tokenizer()
            )
        )
        for asked in ({}, {"tokens": True})
    ]
    for side in ("chosen_ids", "rejected_ids"):
        assert made[0][side] == made[1][side]


def test_grpo_trains_on_the_prompts_with_the_shipped_reward(loaded, arguments: dict[str, Any], tmp_path: Path) -> None:
    import importlib.util

    data = loaded("rl")
    spec = importlib.util.spec_from_file_location("shipped_reward", tmp_path / "rl-0" / "reward.py")
    assert spec is not None
    assert spec.loader is not None
    shipped = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shipped)
    config = trl.GRPOConfig(**arguments, num_generations=4, max_completion_length=48)
    trainer = trl.GRPOTrainer(
        policy(), reward_funcs=shipped.trl_reward, args=config, train_dataset=data, processing_class=tokenizer()
    )
    trained(trainer)
    [rewards] = [log["rewards/trl_reward/mean"] for log in trainer.state.log_history if "reward" in log]
    assert 0.0 < float(rewards) < 1.0, "some answers of the half-trained model pass, not all"


def test_process_labels_are_stepwise_supervision_as_trl_documents_it(loaded) -> None:
    from datasets import List, Value

    data = loaded("prm")
    assert data.features["prompt"] == Value("string")
    assert data.features["completions"] == List(Value("string"))
    assert data.features["labels"] == List(Value("bool"))
    assert all(len(row["completions"]) == len(row["labels"]) > 0 for row in data)
