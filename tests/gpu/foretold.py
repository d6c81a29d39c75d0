"""What the plan says of this machine, written beside the check before it runs: tokens a second of each shape."""

from __future__ import annotations

from typing import Any

from part import Here
from shapes import SHAPES, made

SHEETS = ("gb200", "b200", "h200", "h100", "a100", "rtx4090", "mi300x")  # longer names first: GB200 holds B200
ON_CORES = "cpu-core"
PROMPT_TOKENS = 60  # of the problems that the parts draw, about


def sheet_of(gpu: str | None) -> str | None:
    """The hardware sheet for what nvidia-smi calls a device; a core's without any, None for one without a sheet."""
    if gpu is None:
        return ON_CORES
    plain = gpu.lower().replace(" ", "")
    return next((name for name in SHEETS if name in plain), None)


def foretold(here: Here, gpu: str | None) -> dict[str, Any]:
    """Tokens/s and answers at once by the roofline, of each shape at each number of sequences that is measured."""
    from berry.pipeline.config.plan import Calibration
    from berry.pipeline.planning.formulas.roofline import EngineModel, decode_step_s, largest_batch_by_memory, prefill_s
    from berry.pipeline.planning.models import model_sheet
    from berry.pipeline.planning.sheets import accelerator

    name = sheet_of(gpu)
    if name is None:
        return {"sheet": None, "why": f"there is no hardware sheet for {gpu}"}
    device, found = accelerator(name), {}
    tokens = here.sizes.overhead_tokens
    for shape in SHAPES:
        engine = EngineModel(model_sheet(made(shape, here)), device, 1, "bf16", "bf16", Calibration())
        for seqs in (here.sizes.seqs, here.sizes.fewer_seqs):
            step_s = decode_step_s(engine, seqs, PROMPT_TOKENS + tokens / 2)
            answer_s = tokens * step_s + seqs * prefill_s(engine, PROMPT_TOKENS)
            found[f"{shape}, {seqs} sequences"] = {
                "tokens_per_s": round(seqs * tokens / answer_s),
                "fit_at_once": largest_batch_by_memory(engine, PROMPT_TOKENS + tokens),
            }
    return {"sheet": name, "source": Calibration().source, "rates": found}
