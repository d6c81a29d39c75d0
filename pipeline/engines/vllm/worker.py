"""Runs inside vLLM's worker processes: methods called by name through `collective_rpc`, and a watch that ends them
with the process that started the engine (vLLM's own would outlive it)."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from typing import Any

import psutil

from berry.pipeline.engines.vllm import wire

OWNER = "BERRY_ENGINE_OWNER"  # environment variable: the process that must be alive, PID@HOST
SOCKETS = "BERRY_ENGINE_SOCKETS"  # environment variable: the folder of the engine's sockets, where there is one
OWNER_POLL_S = 1.0
EXPERTS_PACKED_ONCE = "CPUUnquantizedExperts"


class WorkerExtension:
    """Mixed into vLLM's worker (engine argument `worker_extension_cls`)."""

    model_runner: Any

    def refresh_packed_weights(self) -> int:
        """Packs anew what `reload_weights` leaves as it came, and says how many layers that are.

        On cores vLLM multiplies with a packed copy of each weight. A head that is tied to the input embedding is not
        in the checkpoint, so the reload passes it by: the embedding is new, and the head's packed copy the old one.
        And experts of a mixture are packed when their kernel is made, which is once: later ones would be multiplied
        as if they were packed.

        Raises RuntimeError for experts on cores of which it is not known how they are packed.
        """
        packed = 0
        for module in self.model_runner.get_model().modules():
            if hasattr(module, "cpu_linear") and type(module).__name__ == "ParallelLMHead":
                module.quant_method.process_weights_after_loading(module)
                packed += 1
            elif hasattr(module, "w13_weight") and module.w13_weight.device.type == "cpu":
                experts = module.quant_method.moe_kernel.fused_experts
                if not any(kind.__name__ == EXPERTS_PACKED_ONCE for kind in type(experts).__mro__):
                    raise RuntimeError(f"it is not known how vLLM packs weights of {type(experts).__name__}")
                experts.process_weights_after_loading(module)
                packed += 1
        return packed

    def make_room_between_stages(self) -> None:
        """Allocates what a stage of a pipeline receives from the one before. vLLM does so in its warm-up run, which it
        leaves out on cores without compiled graphs, and fails at the first step."""
        from vllm.distributed.parallel_state import get_pp_group

        runner: Any = self.model_runner
        if not get_pp_group().is_first_rank and getattr(runner, "intermediate_tensors", self) is None:
            runner.intermediate_tensors = runner.model.make_empty_intermediate_tensors(
                batch_size=runner.max_num_tokens, dtype=runner.model_config.dtype, device=runner.device
            )

    def give_drafts_their_sampling(self) -> None:
        """Has drafted tokens judged under their request's temperature, top-p and top-k.

        On cores vLLM writes these into a copy that it drops, so that drafts are judged by whatever lay in memory. And
        a step in which nothing was drafted ends the engine where top-k is set: its largest value is asked of no rows.
        """
        import vllm.v1.sample.rejection_sampler as module
        from vllm.platforms import current_platform

        sampler: Any = module
        if current_platform.is_cpu():
            sampler.expand_batch_to_tokens = _for_each_token
        own = sampler.apply_sampling_constraints
        sampler.apply_sampling_constraints = lambda logits, *rest: own(logits, *rest) if len(logits) else logits

    def how_it_samples(self) -> tuple[str, str]:
        """Names of vLLM's model runner and of what draws a token from logits."""
        runner: Any = self.model_runner
        sampler: Any = getattr(runner, "sampler", None)
        draws: Any = getattr(getattr(sampler, "topk_topp_sampler", None), "forward", None)
        kind = f"{type(runner).__module__.removeprefix('vllm.v1.worker.')}.{type(runner).__name__}"
        return kind, ".".join(filter(None, (type(sampler).__name__, getattr(draws, "__name__", ""))))

    def send_plain_logprobs(self) -> None:
        """Sends sampled log-probabilities as `wire.PlainLogprobs` from now on."""
        wire.send()

    def score_prompts_as(self, temperature: float, top_p: float, top_k: int, min_p: float) -> bool:
        """Has log-probabilities of prompt tokens computed from now on in the distribution that this sampling draws
        from, in
        place of the model's own. False where this runner has no place for it."""
        runner: Any = self.model_runner
        sampler: Any = getattr(runner, "sampler", None)
        vars(runner).pop("_get_prompt_logprobs_dict", None)
        if (temperature, top_p, top_k, min_p) == (1.0, 1.0, 0, 0.0):
            return True
        own_of_prompts = getattr(runner, "_get_prompt_logprobs_dict", None)
        own = getattr(sampler, "compute_logprobs", None)
        if own_of_prompts is None or own is None:
            return False

        def of_prompts(*arguments: Any, **named: Any) -> Any:
            sampler.compute_logprobs = lambda logits: own(_processed(logits, temperature, top_p, top_k, min_p))
            try:
                return own_of_prompts(*arguments, **named)
            finally:
                del sampler.compute_logprobs  # sampled tokens get theirs by the same name

        runner._get_prompt_logprobs_dict = of_prompts
        return True


def _for_each_token(
    values: Any, token_counts: Any, num_tokens: int, replace_from: float = 0, replace_to: float = 0
) -> Any:
    """A request's value for each of its tokens, [tokens]. `values`: [requests]; `token_counts`: [requests], of each and
    all before it. Stands in for vLLM's function of these arguments."""
    import torch

    counts = torch.diff(token_counts.long(), prepend=token_counts.new_zeros(1).long())
    return values.masked_fill(values == replace_from, replace_to).repeat_interleave(counts, output_size=num_tokens)


def _processed(logits: Any, temperature: float, top_p: float, top_k: int, min_p: float) -> Any:
    """Logits [tokens, vocabulary] with what sampling leaves out at -inf, in vLLM's order: temperature, min-p, then
    top-k and top-p."""
    import torch
    from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p

    logits = logits.to(torch.float32) / temperature
    if min_p > 0:
        probabilities = torch.softmax(logits, dim=-1)
        least = min_p * probabilities.amax(dim=-1, keepdim=True)
        logits = logits.masked_fill(probabilities < least, float("-inf"))
    rows, vocabulary = logits.shape
    k = torch.full((rows,), min(top_k, vocabulary), device=logits.device) if top_k else None
    p = torch.full((rows,), top_p, device=logits.device) if top_p < 1 else None
    return apply_top_k_top_p(logits, k, p)


def _end_with(owner: psutil.Process) -> None:
    while _alive(owner):
        time.sleep(OWNER_POLL_S)
    if SOCKETS in os.environ:
        shutil.rmtree(os.environ[SOCKETS], ignore_errors=True)  # its owner can't any more
    os.kill(os.getpid(), signal.SIGKILL)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def owned_by_this_process() -> str:
    """What OWNER says where this process is the owner."""
    return f"{os.getpid()}@{os.uname().nodename}"


def _watch_owner(pid: int) -> None:
    """Ends this process soon after its owner ended, however that came about."""
    try:
        owner = psutil.Process(pid)
    except psutil.NoSuchProcess:
        os.kill(os.getpid(), signal.SIGKILL)
        return
    threading.Thread(target=_end_with, args=(owner,), name="watch-owner", daemon=True).start()


def _watch_if_owned() -> None:
    """Watches an owner on this host. A part on another node is Ray's, and ends with the engine's process."""
    pid, _, host = os.environ.get(OWNER, "").partition("@")
    if pid and host == os.uname().nodename and int(pid) != os.getpid():
        _watch_owner(int(pid))


_watch_if_owned()  # at import: weights are not loaded yet
