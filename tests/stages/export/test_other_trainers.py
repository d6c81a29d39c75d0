"""verl's and OpenRLHF's own data sets read the exports as they are; docs/exports.md says how to install them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from berry.pipeline.engines import models
from berry.pipeline.stages.export.export import ExportRequest, export
from berry.pipeline.storage.run.directory import RunDir
from tests.stages.export.conftest import ENDS

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
NEEDS = "docs/exports.md says how to install it"
LONGEST = 128


@pytest.fixture
def written(written_run: Callable[..., RunDir], tmp_path: Path) -> Callable[..., str]:
    """written("sft", "verl") -> the file of an export."""

    def write(name: str, trainer: str | None, **request: Any) -> str:
        folder = tmp_path / f"{name}-{trainer}"
        run = written_run("ends", engine={"chat_template": ENDS})
        export(run, ExportRequest(name, trainer, heldout_share=0.0, **request), str(folder))
        return str(folder / "train.parquet")

    return write


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(models.resolve("tiny-arithmetic"))
    loaded.chat_template = ENDS
    return loaded


def test_verl_learns_the_sampled_ids(written, tokenizer: Any) -> None:
    pytest.importorskip("verl", reason=NEEDS)
    pytest.importorskip("tensordict", reason=NEEDS)
    from omegaconf import OmegaConf  # pyright: ignore[reportMissingImports]
    from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset  # pyright: ignore[reportMissingImports]

    config = OmegaConf.create({"max_length": LONGEST, "pad_mode": "no_padding"})
    read = MultiTurnSFTDataset(written("sft", "verl"), tokenizer, config)
    tokens = pq.read_table(written("sft", None, tokens=True)).to_pylist()
    assert len(read) == len(tokens) > 0
    for row, wanted in zip((read[i] for i in range(len(read))), tokens, strict=True):
        assert row["input_ids"].tolist() == wanted["input_ids"]
        assert row["loss_mask"].tolist() == wanted["loss_mask"]


def test_verl_reads_problems_and_its_own_reward_takes_them(written, tokenizer: Any, tmp_path: Path) -> None:
    pytest.importorskip("verl", reason=NEEDS)
    pytest.importorskip("tensordict", reason=NEEDS)
    from omegaconf import OmegaConf  # pyright: ignore[reportMissingImports]
    from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn  # pyright: ignore[reportMissingImports]
    from verl.utils.reward_score import default_compute_score  # pyright: ignore[reportMissingImports]

    settings = {"max_prompt_length": LONGEST, "cache_dir": str(tmp_path), "filter_overlong_prompts_workers": 1}
    read = RLHFDataset(written("rl", "verl"), tokenizer, OmegaConf.create(settings))
    batch = collate_fn([read[i] for i in range(4)])
    for source, reward in zip(batch["data_source"], batch["reward_model"], strict=True):
        gold = reward["ground_truth"]
        assert default_compute_score(source, f"\\boxed{{{gold}}}", gold) == 1.0
        assert default_compute_score(source, "\\boxed{1000}", gold) == 0.0


def test_openrlhf_reads_responses_pairs_and_prompts(written, tokenizer: Any) -> None:
    pytest.importorskip("openrlhf", reason=NEEDS)
    pytest.importorskip("pylatexenc", reason=NEEDS)
    from datasets import load_dataset
    from openrlhf.datasets import PromptDataset, RewardDataset, SFTDataset  # pyright: ignore[reportMissingImports]

    def loaded(name: str) -> Any:
        return load_dataset("parquet", data_files=written(name, "openrlhf"), split="train")

    def strategy(**keys: str) -> Any:
        data = SimpleNamespace(apply_chat_template=True, tokenizer_chat_template=None, **keys)
        return SimpleNamespace(args=SimpleNamespace(data=data), is_rank_0=lambda: False)

    keys = strategy(input_key="input", output_key="output")
    read = SFTDataset(loaded("sft"), tokenizer, LONGEST, keys, num_processors=1)
    tokens = pq.read_table(written("sft", None, tokens=True)).to_pylist()
    assert len(read) == len(tokens) > 0
    for at, wanted in enumerate(tokens):
        assert read[at][0].flatten().tolist() == wanted["input_ids"]
    keys = strategy(prompt_key="prompt", chosen_key="chosen", rejected_key="rejected")
    pairs = RewardDataset(loaded("pairs"), tokenizer, LONGEST, keys, num_processors=1)
    wanted = pq.read_table(written("pairs", None, tokens=True)).to_pylist()
    assert [pairs[i][0].flatten().tolist() for i in range(len(pairs))] == [row["chosen_ids"] for row in wanted]
    prompts = PromptDataset(loaded("rl"), tokenizer, strategy(input_key="input", label_key="label"))
    assert len(prompts) > 0
