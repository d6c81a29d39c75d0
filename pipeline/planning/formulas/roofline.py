"""Computes time and memory of a transformer on accelerators: each step takes the longer of its arithmetic and its
reading.

    KV bytes            = batch × length × 2 × layers × (hidden / heads × KV heads) × bytes a value × copies
    attention FLOP      = 4 × heads × layers × head size × length                    (a token; QKᵀ and AV)
    FLOP a token        = 2 × active parameters + attention
    decode step         = max(batch × FLOP / rate, (weights + KV bytes) / bandwidth) + communication + overhead
    prefill             = max(tokens × FLOP / rate, chunks × weights / bandwidth)

`length` is what a layer looks back: layers with a sliding window keep and read no more than that. `copies` is 1 as long
as the KV heads can be divided among the devices; a latent KV cache (MLA) is held whole by each.

Sources: Williams et al. 2009 (roofline); Pope et al. 2022, "Efficiently Scaling Transformer Inference";
Kaplan et al. 2020 (2 FLOP a parameter and token). Peaks come from sheets, the shares of them that are
reached from Calibration.
"""

from __future__ import annotations

from dataclasses import dataclass

from berry.pipeline.config.plan import Calibration
from berry.pipeline.errors import ConfigError
from berry.pipeline.planning.models import ModelSheet
from berry.pipeline.planning.sheets import BYTES, Accelerator, Dtype

PREFILL_CHUNK = 8192  # tokens of one prefill step: weights are read once for each
ALL_REDUCE_LATENCY_S = 10e-6  # one small all-reduce inside a node, NCCL on NVLink: an assumption


@dataclass(frozen=True, slots=True)
class EngineModel:
    """A model in given number formats on `devices` accelerators (tensor parallel)."""

    model: ModelSheet
    device: Accelerator
    devices: float
    weights: Dtype
    kv: Dtype
    calibration: Calibration
    communicates: bool = True  # False: all-reduces take no time (the bare roofline)

    @property
    def scale(self) -> float:
        """Gives measured over modelled speed, where it was measured on this device."""
        measured = self.calibration.device in (None, self.device.name)
        return self.calibration.engine_scale if measured else 1.0

    @property
    def flops(self) -> float:
        """Computes reachable FLOP/s."""
        share = 1.0 if self.device.effective else self.calibration.compute_efficiency
        return self.device.flops(self.weights) * self.devices * share

    @property
    def bandwidth(self) -> float:
        """Computes reachable memory bandwidth in bytes/s."""
        share = 1.0 if self.device.effective else self.calibration.memory_efficiency
        return self.device.memory_gb_per_s * 1e9 * self.devices * share

    @property
    def weight_bytes(self) -> float:
        return self.model.parameters * BYTES[self.weights]

    @property
    def kv_budget_bytes(self) -> float:
        """Computes the memory left for the KV cache. Raises ConfigError where the weights alone don't fit."""
        total = self.device.memory_gb * 1e9 * self.devices * self.calibration.memory_share
        if total <= self.weight_bytes:
            per_device = self.device.memory_gb * 1e9 * self.calibration.memory_share
            need = int(self.weight_bytes // per_device) + 1
            raise ConfigError(
                f"{self.model.name} does not fit: {self.model.parameters / 1e9:.4g} B parameters × "
                f"{BYTES[self.weights]} bytes = {self.weight_bytes / 1e9:.4g} GB of weights, but "
                f"{self.devices:g} × {self.device.name} give {self.device.memory_gb:g} GB × {self.devices:g} × "
                f"{self.calibration.memory_share:g} = {total / 1e9:.4g} GB. Split it over at least "
                f"{need} devices (roles.rollout.tensor_parallel), use fewer bytes a weight, or a smaller model"
            )
        return total - self.weight_bytes


def kv_bytes(model: ModelSheet, batch: float, length: float, dtype: Dtype, devices: float = 1) -> float:
    """Computes the KV cache of `batch` sequences of `length` tokens each over all `devices`, in bytes."""
    return batch * model.looked_back(length) * model.kv_values * BYTES[dtype] * model.kv_copies(devices)


def attention_flops(model: ModelSheet, length: float) -> float:
    """Computes the attention FLOP of one token that looks back over `length` tokens."""
    return 4 * model.attention_width * model.looked_back(length)


def token_flops(model: ModelSheet, length: float) -> float:
    """Computes the forward FLOP of one token after `length` others."""
    return 2 * model.active_parameters + attention_flops(model, length)


def weights_read_bytes(engine: EngineModel, batch: float) -> float:
    """Computes the weights read in one step, in bytes: of a mixture of experts, those that a batch of tokens
    touches."""
    m = engine.model
    if m.expert_share == 1:
        return engine.weight_bytes
    routed = (m.parameters - m.active_parameters) / (1 - m.expert_share)
    untouched = routed * (1 - m.expert_share) ** batch
    return (m.parameters - untouched) * BYTES[engine.weights]


def communication_s(engine: EngineModel, batch: float) -> float:
    """Computes the time of two all-reduces a layer between tensor-parallel devices, in s; ring of 2(n-1)/n of the
    activations."""
    n = engine.devices
    if n <= 1 or not engine.communicates or engine.device.effective:
        return 0.0
    if engine.device.link_gb_per_s is None:
        raise ConfigError(
            f"hardware sheet {engine.device.name} gives no link_gb_per_s, so {n:g} of them as one engine "
            f"can't be planned: use tensor_parallel 1, or add the value with its source"
        )
    one_way = engine.device.link_gb_per_s * 1e9 / 2
    size = batch * engine.model.hidden * 2 * 2 * (n - 1) / n
    return 2 * engine.model.layers * (ALL_REDUCE_LATENCY_S + size / one_way)


def decode_step_s(engine: EngineModel, batch: float, context: float) -> float:
    """Computes the time of one token for each of `batch` sequences with `context` tokens behind each on average, in
    s."""
    compute = batch * token_flops(engine.model, context) / engine.flops
    read = weights_read_bytes(engine, batch) + kv_bytes(engine.model, batch, context, engine.kv, engine.devices)
    overhead = 0.0 if engine.device.effective else engine.calibration.step_overhead_ms / 1e3
    step = max(compute, read / engine.bandwidth) + communication_s(engine, batch) + overhead
    return step / engine.scale


def prefill_s(engine: EngineModel, tokens: float, context: float = 0.0) -> float:
    """Computes the time of reading `tokens` prompt tokens behind `context` cached ones, in s; half of them lie before
    each on average."""
    compute = tokens * token_flops(engine.model, context + tokens / 2) / engine.flops
    reading = tokens / PREFILL_CHUNK * engine.weight_bytes / engine.bandwidth
    return max(compute, reading) / engine.scale


def largest_batch_by_memory(engine: EngineModel, resident: float) -> int:
    """Computes how many sequences there is memory for: their KV cache fits beside the weights, `resident` tokens each
    (shared ones divided up)."""
    return int(engine.kv_budget_bytes // kv_bytes(engine.model, 1, resident, engine.kv, engine.devices))


def largest_batch_by_speed(engine: EngineModel, context: float, tokens_per_s_user: float) -> int:
    """Finds the most sequences such that each still gets its tokens/s; 0 where not even one does."""
    limit = 1 / tokens_per_s_user
    if decode_step_s(engine, 1, context) > limit:
        return 0
    low, high = 1, 2
    while decode_step_s(engine, high, context) <= limit and high < 1 << 24:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if decode_step_s(engine, middle, context) <= limit:
            low = middle
        else:
            high = middle
    return low
