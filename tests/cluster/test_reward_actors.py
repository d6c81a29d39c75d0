from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.engines.text import vocabulary
from berry.pipeline.rewards.model.loading import load
from berry.pipeline.rewards.serving.scorer import PrefixScorer
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.run.weights_file import RunWeights, Weights, write_weights

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


async def test_replicas_score_survive_a_kill_and_take_new_weights(
    tmp_path: Path, value_model: Callable[..., str]
) -> None:
    import ray

    from berry.pipeline.config.reading.loading import validate
    from berry.pipeline.config.run import RunConfig
    from berry.pipeline.engines.synthetic.engine import Synthetic
    from berry.pipeline.rewards.model.render import renderer
    from berry.pipeline.runtime.actors.remote import expected
    from berry.pipeline.runtime.actors.reward_actor import load_weights_on, reward_actor
    from berry.pipeline.runtime.actors.reward_client import RewardClient, RewardReplica

    old, new = value_model(tmp_path / "old", "old"), value_model(tmp_path / "new", "new", 2)
    raw: dict[str, Any] = {
        "name": "t",
        "problems": [{"type": "synthetic", "count": 4}],
        "engine": {"type": "synthetic"},
        "rollout": {"step": {"type": "delimiter", "delimiters": ["\n\n"]}},
        "rewards": {"prm": {"model": old, "backend": "transformers"}},
    }
    config = validate(raw, RunConfig, where="test")
    speaks = vocabulary.of_engine(config.engine)
    render = renderer(speaks, vocabulary.for_fresh(speaks), step=config.rollout.step)
    engine = Synthetic(config.engine)  # type: ignore[arg-type]
    prompt = engine.encode([{"role": "user", "content": "Start with 5000. Then add 7. What is the result?"}])
    chain = engine.chain(prompt)
    response = list(chain.step(0, 5000, 5007).tokens)

    def alone(folder: str) -> float:
        return PrefixScorer(load(folder)).values([render(prompt, response)])[0]

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        namespace="rewards",
    )
    try:
        actors = [
            reward_actor.options(num_cpus=0.5, max_restarts=-1, max_concurrency=100).remote(
                config.model_dump_json(), str(tmp_path / "run")
            )
            for _ in range(2)
        ]
        client = RewardClient([RewardReplica(f"reward-{n}", actor) for n, actor in enumerate(actors)])
        assert await expected(actors[0].start.remote()) == {"prm": "old"}  # pyright: ignore
        expected_old = pytest.approx(alone(old), abs=1e-5)
        for end in range(1, len(response) + 1):
            await client.score(model="prm", prompt_ids=prompt, response_ids=response[:end])
        assert await client.score(model="prm", prompt_ids=prompt, response_ids=response) == expected_old
        assert client.versions() == {"prm": "old"}
        answers = [await expected(actor.counters.remote()) for actor in actors]  # pyright: ignore
        each = [counters["prm"] for counters in answers if counters]  # a replica that was not asked is not up
        totals = {name: sum(one[name] for one in each) for name in each[0]}
        assert totals["requests"] == len(response) + 1
        shared = totals["computed_tokens"] / totals["naive_tokens"]
        assert shared < 0.3, "one replica had all of this problem's prefixes"

        for actor in actors:
            ray.kill(actor, no_restart=False)  # pyright: ignore
        assert await client.score(model="prm", prompt_ids=prompt, response_ids=response) == expected_old

        location = locate(tmp_path / "run")
        write_weights(location, RunWeights(rewards={"prm": Weights(new, "new")}))
        assert await load_weights_on(actors) == []
        assert await client.score(model="prm", prompt_ids=prompt, response_ids=response) == pytest.approx(
            alone(new), abs=1e-5
        )
        assert client.versions() == {"prm": "new"}
        assert alone(new) != expected_old

        write_weights(location, RunWeights(rewards={"prm": Weights(str(tmp_path / "nowhere"), "bad")}))
        wrong = await load_weights_on(actors)
        assert wrong
        assert all("the old weights go on" in text for text in wrong)
        await client.score(model="prm", prompt_ids=prompt, response_ids=response)
        assert client.versions() == {"prm": "new"}
    finally:
        ray.shutdown()
