"""ORM and PRM: trained on the labels of the tiny model's run, then both backends score that run's prefixes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from part import Figure, Here, at_least, at_most

Found = tuple[list[Figure], dict[str, Any]]
CHANCE = 0.5
AGREE = 0.02  # of two backends, in float32: their kernels add in different orders
POOLING_MEMORY_SHARE = 0.3
PREFIXES = 4000


def prm(here: Here) -> Found:
    return _train_and_score(here, "prm")


def orm(here: Here) -> Found:
    return _train_and_score(here, "orm")


def _train_and_score(here: Here, what: Any) -> Found:
    from berry.pipeline.config.sections.rewards import RewardTraining
    from berry.pipeline.stages.training.reward_model import train_reward
    from berry.pipeline.storage.run.directory import open_run

    place = here.work / "runs" / "tiny"
    if not (place / "run.yaml").is_file():
        import main_path

        main_path.tiny(here)
    run = open_run(str(place))
    started = time.monotonic()
    made = train_reward(run, what, RewardTraining(epochs=here.sizes.epochs, max_tokens=256))
    wall_s, gpu_mib = time.monotonic() - started, _peak_mib()
    line = next(line for line in made.report["scorers"] if line["scorer"] == what)
    asked = _prefixes(run)
    scored = {name: asyncio.run(_score(here, run, what, made.folder, name, asked)) for name in ("vllm", "transformers")}
    apart = max(abs(a - b) for a, b in zip(scored["vllm"][0], scored["transformers"][0], strict=True))
    figures = [
        at_least("AUC, held out", line["auc"], CHANCE),
        Figure("trained in s", round(wall_s, 1)),
        at_least("GPU MiB in training", gpu_mib, 1, judged=here.on_gpu),
        at_most("backends apart", apart, AGREE),
        *(Figure(f"{name}: scores/s", round(rates["scores_per_s"], 1)) for name, (_, rates) in scored.items()),
    ]
    raw = {
        "place": str(place),
        "report": made.report,
        "training_wall_s": wall_s,
        "prefixes": len(asked),
        "scoring": {name: rates for name, (_, rates) in scored.items()},
    }
    return figures, raw


def _peak_mib() -> float:
    import torch

    return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0


def _prefixes(run: Any) -> list[tuple[list[int], list[int]]]:
    """Prompt and response ids at every node of the run's trees, in the order in which a search asks: parents first."""
    from berry.pipeline.stages.dataset.reading import read_trees

    out = []
    for stored in read_trees(run):
        tree = stored.tree
        for node in tree.walk():
            if node.parent is not None:
                out.append((list(tree.prompt_ids), tree.response_ids(node.node_id)))
        if len(out) >= PREFIXES:
            break
    return out[:PREFIXES]


async def _score(
    here: Here, run: Any, what: str, folder: str, backend: Any, asked: list[tuple[list[int], list[int]]]
) -> tuple[list[float], dict[str, Any]]:
    from berry.pipeline.config.sections.rewards import Rewards, ServedReward
    from berry.pipeline.engines.text import vocabulary
    from berry.pipeline.rewards.serving.service import RewardModels
    from berry.pipeline.stages.dataset.reading import stored_config

    config = stored_config(run)
    extra = {"gpu_memory_utilization": POOLING_MEMORY_SHARE} if here.on_gpu and backend == "vllm" else {}
    served = ServedReward(model=folder, backend=backend, dtype="float32", max_batch=here.sizes.seqs, extra=extra)
    rewards = Rewards(prm=served) if what == "prm" else Rewards(orm=served)
    models = RewardModels(rewards, config.rollout, vocabulary.of_engine(config.engine))
    await models.start()
    try:
        started = time.monotonic()
        values = await asyncio.gather(
            *(models.score(model=what, prompt_ids=prompt, response_ids=response) for prompt, response in asked)
        )
        wall_s, counts = time.monotonic() - started, models.counts()[what]
    finally:
        await models.close()
    return values, {
        "wall_s": wall_s,
        "scores_per_s": len(asked) / wall_s,
        "tokens": counts.naive_tokens,
        "computed_share": counts.computed_tokens / max(counts.naive_tokens, 1),
    }
