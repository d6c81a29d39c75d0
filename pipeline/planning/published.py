"""Published figures on reasoning data at scale, set beside this model's own arithmetic, the disagreement
shown.

They disagree by factors, which is the point: a plan is good to a factor until a run has calibrated it.
"""

from __future__ import annotations

from dataclasses import dataclass

from berry.pipeline.config.plan import Calibration
from berry.pipeline.planning import roofline
from berry.pipeline.planning.models import model_sheet
from berry.pipeline.planning.roofline import EngineModel
from berry.pipeline.planning.sheets import accelerator

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """A published figure, what follows from first principles, and their ratio (ours over theirs)."""

    what: str
    published: float
    ours: float
    unit: str
    arithmetic: str
    reading: str

    @property
    def ratio(self) -> float:
        return self.ours / self.published


def forward_flop(active_parameters: float, tokens: float) -> float:
    """FLOP to generate `tokens`: 2 for each active parameter and token (Kaplan et al. 2020)."""
    return 2 * active_parameters * tokens


def utilisation(flop: float, gpu_hours: float, peak_flops: float) -> float:
    """Share of peak that `flop` in `gpu_hours` means."""
    return flop / (gpu_hours * HOUR_S * peak_flops)


def reasoning_run() -> Comparison:
    """One reasoning run of a model with 37 B active parameters: about 6e23 FLOP and 20 T tokens."""
    ours = forward_flop(37e9, 20e12)
    return Comparison(
        what="one reasoning run, 37 B active parameters, 20 T tokens",
        published=6e23,
        ours=ours,
        unit="FLOP",
        arithmetic="2 × 37e9 × 20e12 = 1.48e24",
        reading=(
            "generation alone is 2.5 × the published total, before any training pass over the tokens; 6e23 FLOP are "
            "8.1 T tokens forward, so the two published numbers don't belong to the same count of tokens"
        ),
    )


def h100_hours() -> Comparison:
    """140,000 H100-hours for about 1e23 FLOP: what share of peak is that?"""
    h100 = accelerator("h100")
    share = utilisation(1e23, 140_000, h100.flops("bf16"))
    eight_bit = utilisation(1e23, 140_000, h100.flops("fp8"))
    at_default = 1e23 / (h100.flops("bf16") * Calibration().compute_efficiency) / HOUR_S
    return Comparison(
        what="H100-hours for 1e23 FLOP",
        published=140_000,
        ours=at_default,
        unit="H100-hours",
        arithmetic=f"1e23 / (140,000 h × 3,600 s) = 1.98e14 FLOP/s = {share:.0%} of bf16 peak, {eight_bit:.0%} of fp8",
        reading=(
            f"our default of {Calibration().compute_efficiency:.0%} of peak holds for prefill and large batches; "
            "decoding waits for memory, so a fifth of peak over a whole run is plausible"
        ),
    )


def ten_million_problems() -> Comparison:
    """10 M problems giving tens of billions of trajectories and hundreds of trillions of tokens."""
    problems, trajectories, tokens = 1e7, 3e10, 3e14
    ours = problems * 32 * 1500
    flop = forward_flop(model_sheet("llama-3.1-8b").active_parameters, tokens)
    hours = flop / (accelerator("h100").flops("bf16") * 0.2) / HOUR_S
    return Comparison(
        what="10 M problems: 30 G trajectories and 300 T tokens, against 32 answers of 1,500 tokens each",
        published=tokens,
        ours=ours,
        unit="tokens",
        arithmetic=(
            f"published: {trajectories / problems:,.0f} trajectories a problem of {tokens / trajectories:,.0f} "
            f"tokens; ours: 1e7 × 32 × 1,500 = {ours:.2g}. 3e14 tokens of an 8 B model forward are 2 × 8.03e9 × "
            f"3e14 = {flop:.2g} FLOP = {hours / 1e6:.1f} M H100-hours at 20% of bf16 peak"
        ),
        reading=(
            "94 × the trajectories and 6.7 × the length of an ordinary sampling run: at that scale shared prefixes "
            "and early cuts decide the bill"
        ),
    )


def long_outputs() -> Comparison:
    """Cost a token at 7,661 output tokens over 775 for Llama-3.1-405B at equal speed for each user.

    The published batches are 72 against 368 (5.1 ×). Ours: the same engine (8 H100, 8-bit, peak rates),
    the speed at which the short case reaches batch 368, then the largest batch of the long one.
    """
    engine = EngineModel(
        model=model_sheet("llama-3.1-405b"),
        device=accelerator("h100"),
        devices=8,
        weights="fp8",
        kv="fp8",
        calibration=Calibration(compute_efficiency=1, memory_efficiency=1, step_overhead_ms=0, memory_share=1),
        communicates=False,
    )
    speed = 1 / roofline.decode_step_s(engine, 368, 775)
    batch = roofline.largest_batch_by_speed(engine, 7661, speed)
    return Comparison(
        what="cost a token, 7,661 output tokens over 775 (Llama-3.1-405B, 8-bit, 8 H100)",
        published=368 / 72,
        ours=368 / batch,
        unit="×",
        arithmetic=f"at {speed:.0f} tokens/s each: batch 368 at 775 tokens, {batch} at 7,661; published 72",
        reading="several-fold either way; contexts and the speed that was held equal are not stated to the last digit",
    )


def comparisons() -> list[Comparison]:
    return [reasoning_run(), h100_hours(), ten_million_problems(), long_outputs()]
