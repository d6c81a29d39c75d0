"""Computes time and memory of a transformer on accelerators: each step takes the longer of its arithmetic and its
reading.

    KV bytes            = batch × length × 2 × layers × (hidden / heads × KV heads) × bytes a value × copies
    attention FLOP      = 4 × heads × layers × head size × length                    (a token; QKᵀ and AV)
    FLOP a token        = 2 × active parameters + attention
    decode step         = max(batch × FLOP / rate, (weights + KV bytes) / bandwidth) + communication + overhead
    with s stages       = s × (the step of a stage for batch / s sequences + what it hands to the next)
    prefill             = max(tokens × FLOP / rate, chunks × weights / bandwidth)

Stages (pipeline parallel) work at once, each on another part of the batch and on its share of the layers, so that
arithmetic and reading are those of all devices, but weights are read once for each part of the batch.

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
NETWORK_LATENCY_S = 30e-6  # one small message or all-reduce between nodes: an assumption


@dataclass(frozen=True, slots=True)
class EngineModel:
    """A model in given number formats on `devices` accelerators, in `stages` of layers (pipeline parallel), each split
    over its devices (tensor parallel). `nodes`: that the devices are of, which send each other `network_gb_per_s`
    (GB/s, a node and direction)."""

    model: ModelSheet
    device: Accelerator
    devices: float
    weights: Dtype
    kv: Dtype
    calibration: Calibration
    communicates: bool = True  # False: all-reduces take no time (the bare roofline)
    stages: int = 1
    nodes: int = 1
    network_gb_per_s: float = 0.0

    @property
    def tensor_parallel(self) -> float:
        """Devices that each layer is split over."""
        return self.devices / self.stages

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
    def memory_bytes(self) -> float:
        """Computes the memory that engines may take of all devices."""
        return self.device.memory_gb * 1e9 * self.devices * self.calibration.memory_share

    @property
    def fits_weights(self) -> bool:
        return self.memory_bytes > self.weight_bytes

    def has_room(self, resident: float) -> bool:
        """Whether the weights and one sequence of `resident` tokens fit."""
        return self.fits_weights and largest_batch_by_memory(self, resident) >= 1

    @property
    def kv_budget_bytes(self) -> float:
        """Computes the memory left for the KV cache. Raises ConfigError where the weights alone don't fit."""
        total = self.memory_bytes
        if not self.fits_weights:
            per_device = self.device.memory_gb * 1e9 * self.calibration.memory_share
            need = int(self.weight_bytes // per_device) + 1
            raise ConfigError(
                f"{self.model.name} does not fit: {self.model.parameters / 1e9:.4g} B parameters × "
                f"{BYTES[self.weights]} bytes = {self.weight_bytes / 1e9:.4g} GB of weights, but "
                f"{self.devices:g} × {self.device.name} give {self.device.memory_gb:g} GB × {self.devices:g} × "
                f"{self.calibration.memory_share:g} = {total / 1e9:.4g} GB. Split it over at least "
                f"{need} devices (roles.rollout.tensor_parallel; over several nodes pipeline_parallel and nodes), use "
                f"fewer bytes a weight, or a smaller model"
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
    """Computes the time of two all-reduces a layer between the tensor-parallel devices of a stage, in s; ring of
    2(n-1)/n of the activations. Where a stage is of several nodes, over their network, which the devices of a node
    share."""
    n, layers = engine.tensor_parallel, engine.model.layers / engine.stages
    if n <= 1 or not engine.communicates or engine.device.effective:
        return 0.0
    size = batch * engine.model.hidden * 2 * 2 * (n - 1) / n
    if engine.nodes > engine.stages:
        shared = engine.network_gb_per_s * 1e9 / (engine.devices / engine.nodes)
        return 2 * layers * (NETWORK_LATENCY_S + size / shared)
    if engine.device.link_gb_per_s is None:
        raise ConfigError(
            f"hardware sheet {engine.device.name} gives no link_gb_per_s, so {n:g} of them as one engine "
            f"can't be planned: use tensor_parallel 1, or add the value with its source"
        )
    one_way = engine.device.link_gb_per_s * 1e9 / 2
    return 2 * layers * (ALL_REDUCE_LATENCY_S + size / one_way)


def handing_on_s(engine: EngineModel, batch: float) -> float:
    """Computes the time in which a stage hands the activations of `batch` sequences to the next, in s; 16-bit numbers,
    over the network where stages are of several nodes."""
    if engine.stages == 1 or not engine.communicates:
        return 0.0
    size = batch * engine.model.hidden * 2
    if engine.nodes > 1:
        return NETWORK_LATENCY_S + size / (engine.network_gb_per_s * 1e9)
    link = engine.device.link_gb_per_s
    return ALL_REDUCE_LATENCY_S + (size / (link * 1e9 / 2) if link else 0.0)


def decode_step_s(engine: EngineModel, batch: float, context: float) -> float:
    """Computes the time of one token for each of `batch` sequences with `context` tokens behind each on average, in
    s."""
    part = batch / max(1.0, min(engine.stages, batch))  # of the batch, with which each stage works
    compute = part * token_flops(engine.model, context) / engine.flops
    read = weights_read_bytes(engine, part) + kv_bytes(engine.model, part, context, engine.kv, engine.tensor_parallel)
    overhead = 0.0 if engine.device.effective else engine.calibration.step_overhead_ms / 1e3
    stage = (
        max(compute, read / engine.bandwidth) + communication_s(engine, part) + handing_on_s(engine, part) + overhead
    )
    return engine.stages * stage / engine.scale


def prefill_s(engine: EngineModel, tokens: float, context: float = 0.0) -> float:
    """Computes the time of reading `tokens` prompt tokens behind `context` cached ones, in s; half of them lie before
    each on average."""
    compute = tokens * token_flops(engine.model, context + tokens / 2) / engine.flops
    reading = tokens / PREFILL_CHUNK * engine.weight_bytes / engine.bandwidth
    return max(compute, reading) / engine.scale


def largest_batch_by_memory(engine: EngineModel, resident: float) -> int:
    """Computes how many sequences there is memory for: their KV cache fits beside the weights, `resident` tokens each
    (shared ones divided up)."""
    return int(engine.kv_budget_bytes // kv_bytes(engine.model, 1, resident, engine.kv, engine.tensor_parallel))


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
