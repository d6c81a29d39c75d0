"""verl's and OpenRLHF's own data sets read the exports as they are; docs/exports.md says how to install them."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from berry.pipeline.engines import models
from berry.pipeline.stages.dataset.reading import read_trees
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


@pytest.fixture
def checked(written_run: Callable[..., RunDir]) -> list[tuple[str, list[int], list[int], float]]:
    """Of responses of the run: the problem, the ids of prompt and response, and 1 where it passed."""
    return [
        (
            tree.problem_id,
            list(tree.tree.prompt_ids),
            list(tree.token_ids(row["leaf"])),
            float(row["verdict"] == "pass"),
        )
        for tree in read_trees(written_run("ends", engine={"chat_template": ENDS}))
        for row in list(tree.trajectories)[:3]
        if row["verdict"] is not None
    ]


def test_verl_s_reward_manager_gives_the_run_s_verdicts_by_the_shipped_reward(written, checked, tokenizer: Any) -> None:
    pytest.importorskip("verl", reason=NEEDS)
    pytest.importorskip("tensordict", reason=NEEDS)
    import torch
    from omegaconf import OmegaConf  # pyright: ignore[reportMissingImports]
    from verl import DataProto  # pyright: ignore[reportMissingImports]
    from verl.trainer.ppo.reward import get_custom_reward_fn  # pyright: ignore[reportMissingImports]
    from verl.workers.reward_manager import get_reward_manager_cls  # pyright: ignore[reportMissingImports]

    file = Path(written("rl", "verl"))
    rows = {row["problem_id"]: row for row in pq.read_table(file).to_pylist()}
    named = {"path": str(file.with_name("reward.py")), "name": "compute_score"}
    shipped = get_custom_reward_fn(OmegaConf.create({"reward": {"custom_reward_function": named}}))
    manager = get_reward_manager_cls("naive")(tokenizer, num_examine=0, compute_score=shipped)
    batch = {"prompts": torch.zeros(len(checked), LONGEST, dtype=torch.long)}
    batch["responses"], batch["attention_mask"] = batch["prompts"].clone(), batch["prompts"].repeat(1, 2)
    for at, (_, prompt, response, _) in enumerate(checked):
        batch["prompts"][at, LONGEST - len(prompt) :] = torch.tensor(prompt)
        batch["responses"][at, : len(response)] = torch.tensor(response)
        batch["attention_mask"][at, LONGEST - len(prompt) : LONGEST + len(response)] = 1
    columns = {name: [rows[of][name] for of, *_ in checked] for name in ("data_source", "reward_model", "extra_info")}
    others = {name: np.array(values, dtype=object) for name, values in columns.items()}
    rewards = manager(DataProto.from_dict(tensors=batch, non_tensors=others)).sum(dim=1).tolist()
    assert rewards == [passed for *_, passed in checked]
    assert {0.0, 1.0} == set(rewards)


def test_openrlhf_takes_the_shipped_reward(written, checked, tokenizer: Any) -> None:
    pytest.importorskip("openrlhf", reason=NEEDS)
    import asyncio

    from openrlhf.utils.agent import SingleTurnAgentExecutor  # pyright: ignore[reportMissingImports]

    file = Path(written("rl", "openrlhf"))
    labels = {row["problem_id"]: row["label"] for row in pq.read_table(file).to_pylist()}
    executor = SingleTurnAgentExecutor(str(file.with_name("reward.py")))
    queries = [tokenizer.decode([*prompt, *response], skip_special_tokens=False) for _, prompt, response, _ in checked]
    prompts = [tokenizer.decode(prompt, skip_special_tokens=False) for _, prompt, *_ in checked]
    golds = [labels[problem] for problem, *_ in checked]
    found = asyncio.run(executor._fetch_rewards_via_func(queries, prompts, golds))
    rewards = [one["rewards"].item() for one in found]
    assert rewards == [passed for *_, passed in checked]


RUBRIC = """
import asyncio, importlib.util, json, sys

vf = importlib.import_module("verifiers")
spec = importlib.util.spec_from_file_location("shipped_reward", sys.argv[1])
shipped = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shipped)
rubric = vf.Rubric(funcs=[shipped.verifiers_reward])
for line in sys.stdin:
    state = json.loads(line) | {"timing": vf.RolloutTiming() if hasattr(vf, "RolloutTiming") else {}}
    asyncio.run(rubric.score_rollout(state))
    print(state["reward"])
"""


def test_a_rubric_of_the_library_verifiers_takes_the_shipped_reward(written, checked, tokenizer: Any) -> None:
    """In a process of its own: here `verifiers` would be the folder of this repository."""
    try:
        release = importlib.metadata.version("verifiers")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(NEEDS)
    if not release.startswith("0.1."):
        pytest.skip(f"verifiers {release} has no rubrics of functions")
    file = Path(written("rl", "verifiers"))
    rows = {row["problem_id"]: row for row in pq.read_table(file).to_pylist()}
    asked = []
    for problem, _, response, _ in checked:
        state = {name: rows[problem][name] for name in ("prompt", "answer", "info", "task")}
        text = tokenizer.decode(response, skip_special_tokens=True)
        asked.append(json.dumps(state | {"completion": [{"role": "assistant", "content": text}]}))
    command = [sys.executable, "-P", "-c", RUBRIC, str(file.with_name("reward.py"))]
    done = subprocess.run(command, input="\n".join(asked), capture_output=True, text=True, cwd=file.parent, check=False)
    assert done.returncode == 0, done.stderr
    assert [float(line) for line in done.stdout.splitlines()] == [passed for *_, passed in checked]


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
