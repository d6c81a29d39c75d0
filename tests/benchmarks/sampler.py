"""What log-probabilities cost in vLLM's sampler, on cores: `python -P tests/benchmarks/sampler.py`.

    plain     tokens are drawn, no log-probabilities are worked out
    ranks     as vLLM comes: those of the distribution that is drawn from, and the rank of each drawn token
    lean      the same without ranks, as engines here have it (pipeline/engines/vllm/wire.py)

CPU milliseconds of one step on one thread, of `--steps` in turns the median, and the lowest tenth, which neighbours on
the machine disturb least; random logits in bfloat16. Of the first step its seconds: `ranks` compiles a kernel then. The
rest of a step is the model's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")


def sides(sequences: int, vocabulary: int) -> dict[str, Callable[[], Any]]:
    """One step of each side."""
    import torch
    import vllm.v1.sample.sampler as module
    from vllm.v1.sample.logits_processor import LogitsProcessors
    from vllm.v1.sample.metadata import SamplingMetadata

    from berry.pipeline.engines.vllm import wire

    torch.set_num_threads(1)
    sampler_module: Any = module
    counting = sampler_module.batched_count_greater_than
    wire.send()
    lean = sampler_module.batched_count_greater_than
    logits = (torch.randn(sequences, vocabulary) * 4).to(torch.bfloat16)
    plain, processed = module.Sampler("raw_logprobs"), module.Sampler("processed_logprobs")

    def step(sampler: Any, logprobs: int | None, ranks: Any) -> Any:
        sampler_module.batched_count_greater_than = ranks
        asked = SamplingMetadata(
            temperature=torch.ones(sequences),
            all_greedy=False,
            all_random=True,
            top_p=None,
            top_k=None,
            generators={},
            max_num_logprobs=logprobs,
            no_penalties=True,
            prompt_token_ids=None,
            frequency_penalties=torch.zeros(sequences),
            presence_penalties=torch.zeros(sequences),
            repetition_penalties=torch.ones(sequences),
            output_token_ids=[[] for _ in range(sequences)],
            allowed_token_ids_mask=None,
            bad_words_token_ids={},
            logitsprocs=LogitsProcessors(),
        )
        return sampler(logits.clone(), asked)

    return {
        "plain": lambda: step(plain, None, lean),
        "ranks": lambda: step(processed, 0, counting),
        "lean": lambda: step(processed, 0, lean),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=32, help="of a step")
    parser.add_argument("--vocabulary", type=int, default=49_152, help="tokens; default: SmolLM2's")
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    steps = sides(options.sequences, options.vocabulary)
    for name, step in steps.items():
        began = time.perf_counter()
        step()
        print(f"{name}: first step {time.perf_counter() - began:.2f} s")
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.steps):
        for name, step in steps.items():
            began = time.thread_time()
            step()
            spent[name].append(time.thread_time() - began)
    for name, times in spent.items():
        low = sorted(times)[len(times) // 10]
        print(f"{name}: {1000 * statistics.median(times):.2f} ms a step, {1000 * low:.2f} in the lowest tenth")


if __name__ == "__main__":
    main()
