"""What a generated token costs the process that feeds an engine: `python -P tests/benchmarks/frontend.py`.

    outputs of an engine core that does nothing ─► vLLM's OutputProcessor ─► our Completion        microseconds a token

512 requests decode at once, with stop strings (which none ever meets) and the log-probabilities of the top 5, as a
search by steps asks for them. `vllm` is vLLM as it comes, `berry` what `engines.vllm.compat` makes of it, `ours` what
`engines.vllm.engine` does with an ended sample. Processor time of the one thread, so that neighbours hardly show;
rounds alternate; medians, with the range of the rounds. An engine process can't feed a GPU that makes more tokens a
second than a million over `berry` + `ours`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

REQUESTS, PROMPT_TOKENS, TOP = 512, 256, 5


def requests(tokens: int, stop: tuple[str, ...]) -> list[Any]:
    from vllm.v1.engine import EngineCoreRequest

    from berry.pipeline.core.events import Sampling, Until
    from berry.pipeline.engines.base import Request
    from berry.pipeline.engines.vllm import samples

    asked = Request("r", [1] * PROMPT_TOKENS, REQUESTS, Until(tokens, stop), Sampling(top_logprobs=TOP), seed=0)
    return [
        EngineCoreRequest(
            request_id=f"r{i}",
            external_req_id=f"r{i}",
            prompt_token_ids=[1] * PROMPT_TOKENS,
            mm_features=None,
            sampling_params=samples.params(asked, i, max_tokens=tokens),
            pooling_params=None,
            arrival_time=0.0,
            lora_request=None,
            cache_salt=None,
            data_parallel_rank=None,
        )
        for i in range(REQUESTS)
    ]


def measure(model: str, tokens: int, stop: tuple[str, ...], *, patched: bool) -> dict[str, float]:
    """Microseconds a token of one round, in this process, which has vLLM as it comes, but for its Prometheus
    histograms, or as it was `patched`."""
    import numpy as np
    from vllm.tokenizers import get_tokenizer
    from vllm.v1.engine import EngineCoreOutput, FinishReason
    from vllm.v1.engine.output_processor import OutputProcessor, RequestOutputCollector
    from vllm.v1.metrics.stats import IterationStats
    from vllm.v1.outputs import LogprobsLists

    from berry.pipeline.engines import models
    from berry.pipeline.engines.text.tokens import Tokens
    from berry.pipeline.engines.vllm import samples, step_counts

    folder = models.resolve(model)
    ours = Tokens(folder)
    tokenizer = get_tokenizer(folder)
    processor = OutputProcessor(tokenizer, log_stats=not patched)
    counter = step_counts.StepCounter(processor, lambda _: None)
    queues = []
    for request in requests(tokens, stop):
        queues.append(RequestOutputCollector(request.sampling_params.output_kind, request.request_id))
        processor.add_request(request, None, queue=queues[-1])
    rng = np.random.default_rng(0)
    plain = [t for t in range(len(tokenizer)) if not any(s[0] in tokenizer.decode([t]) for s in stop)]
    ids = rng.choice(plain, (tokens, REQUESTS, 1, TOP + 1)).astype(np.int32)
    values = -rng.exponential(1.0, ids.shape).astype(np.float32)
    ranks = np.ones((tokens, REQUESTS, 1), np.int32)
    spent = 0.0
    for step in range(tokens):
        outputs = [
            EngineCoreOutput(
                f"r{i}",
                [int(ids[step, i, 0, 0])],
                LogprobsLists(ids[step, i], values[step, i], ranks[step, i], None),
                finish_reason=FinishReason.LENGTH if step == tokens - 1 else None,
            )
            for i in range(REQUESTS)
        ]
        start = time.thread_time()
        if patched:
            counter.process(outputs, time.monotonic(), None)
            counter.record()
        else:
            processor.process_outputs(outputs, time.monotonic(), IterationStats())
        spent += time.thread_time() - start
    start = time.thread_time()
    for queue in queues:
        out = queue.get_nowait().outputs[0]
        logprobs, entropies = samples.numbers(out.logprobs, len(out.token_ids), TOP)
        assert len(logprobs) == len(entropies) == tokens
        ours.decode(tuple(out.token_ids))
    ended = time.thread_time() - start
    return {"front_end": 1e6 * spent / (REQUESTS * tokens), "ours": 1e6 * ended / (REQUESTS * tokens)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Microseconds a token of the front end.")
    parser.add_argument("--model", default="tiny-arithmetic")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stop", nargs="*", default=["\n\n", "</think>"])
    parser.add_argument("--side", choices=["vllm", "berry"], help="one round in this process")
    asked = parser.parse_args()
    if asked.side:
        from berry.pipeline.engines.vllm import compat

        compat.load()
        if asked.side == "berry":
            compat.drop_token_texts()
        print(json.dumps(measure(asked.model, asked.tokens, tuple(asked.stop), patched=asked.side == "berry")))
        return
    rounds: dict[str, list[dict[str, float]]] = {"vllm": [], "berry": []}
    for _ in range(asked.rounds):
        for side, found in rounds.items():
            command = [sys.executable, *(["-P"] if sys.flags.safe_path else []), *sys.argv, "--side", side]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{REQUESTS} requests, {asked.model}, stop {asked.stop}, top {TOP}: microseconds a token")
    for name, side, part in (
        ("vllm", "vllm", "front_end"),
        ("berry", "berry", "front_end"),
        ("ours", "berry", "ours"),
    ):
        values = [found[part] for found in rounds[side]]
        print(f"{name:8} {statistics.median(values):6.1f}   ({min(values):.1f} to {max(values):.1f})")


if __name__ == "__main__":
    main()
