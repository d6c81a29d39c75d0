"""Reads sheets of hardware and prices: public figures, each with its source.

configs/hardware/NAME.yaml ─► Accelerator | CpuHost        configs/prices/NAME.yaml ─► Prices
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from berry.pipeline.config.plan import Dtype
from berry.pipeline.config.reading.base import Section
from berry.pipeline.config.reading.loading import read_yaml, validate
from berry.pipeline.config.reading.shipped import names, shipped
from berry.pipeline.errors import ConfigError

BYTES: dict[Dtype, int] = {"fp32": 4, "bf16": 2, "fp8": 1, "int8": 1}


class Source(Section):
    """Where values come from."""

    values: tuple[str, ...] = Field(min_length=1)
    """Keys of the sheet that this source gives."""
    what: str = Field(min_length=8)
    """Document and the part of it, or how it was measured; says so where a value is not confirmed."""
    url: str = ""


class Sheet(Section):
    """Base of sheets: every number is covered by a source."""

    name: str = ""
    sources: tuple[Source, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _each_value_has_a_source(self) -> Sheet:
        covered = {v for s in self.sources for v in s.values}
        unsourced = sorted(self._numbers() - covered)
        if unsourced:
            raise ValueError(f"no source names {', '.join(unsourced)}: list it in `sources[].values`")
        return self

    def _numbers(self) -> set[str]:
        given = self.model_fields_set - {"name", "sources", "kind", "effective"}
        return {k for k in given if getattr(self, k) is not None}


class Accelerator(Sheet):
    """One device: a GPU, a Trainium chip, or the core of a CPU that runs an engine."""

    kind: Literal["accelerator"] = "accelerator"
    memory_gb: float = Field(gt=0, le=10_000)
    """Device memory in GB (1e9 bytes)."""
    memory_gb_per_s: float = Field(gt=0, le=1e6)
    """Peak memory bandwidth in GB/s."""
    tflops: dict[Dtype, Annotated[float, Field(gt=0, le=1e6)]] = Field(min_length=1)
    """Peak dense matrix TFLOP/s by number format (not the figure for sparse matrices)."""
    link_gb_per_s: float | None = Field(default=None, gt=0)
    """Bandwidth to the other devices of its node or rack, both directions together, in GB/s."""
    train_tflops: float | None = Field(default=None, gt=0, le=1e6)
    """TFLOP/s that one process reached in a training, forward, backward and optimiser
    (tests/benchmarks/training_speed.py); null: not measured."""
    watts: float | None = Field(default=None, gt=0)
    """Rated power in W."""
    effective: bool = False
    """The rates were measured with a model, not taken from a datasheet: efficiencies don't apply."""

    def flops(self, dtype: Dtype) -> float:
        """Gives peak FLOP/s in a format. Raises ConfigError where the sheet has none."""
        if dtype not in self.tflops:
            raise ConfigError(
                f"hardware sheet {self.name} gives no {dtype} rate (it has {', '.join(self.tflops)}): "
                f"plan with one of these, or add the value with its source"
            )
        return self.tflops[dtype] * 1e12


class CpuHost(Sheet):
    """One CPU package."""

    kind: Literal["cpu"] = "cpu"
    cores: int = Field(gt=0, le=1024)
    """Physical cores."""
    threads_per_core: int = Field(default=1, ge=1, le=8)
    memory_gb_per_s: float | None = Field(default=None, gt=0)
    watts: float | None = Field(default=None, gt=0)


class Prices(Sheet):
    """US dollars an hour. A key that is missing makes the cost unknown, never zero."""

    accelerator_hour: dict[str, Annotated[float, Field(ge=0, le=10_000)]] = Field(default_factory=dict)
    """One accelerator with its share of the host, by hardware sheet."""
    core_hour: float | None = Field(default=None, ge=0, le=100)
    """One physical core of a node without accelerators."""
    storage_gb_month: float | None = Field(default=None, ge=0, le=100)
    """One GB of object storage for a month."""


def hardware(name: str) -> Accelerator | CpuHost:
    """Reads the sheet `name`, or of a YAML path. Raises ConfigError."""
    path = shipped("hardware", name)
    raw = {"name": path.stem, **read_yaml(path)}
    return validate(raw, CpuHost if raw.get("kind") == "cpu" else Accelerator, where=str(path))


def accelerator(name: str) -> Accelerator:
    """Reads the accelerator sheet `name`. Raises ConfigError, also where the sheet is of a CPU."""
    sheet = hardware(name)
    if isinstance(sheet, Accelerator):
        return sheet
    able = [n for n in names("hardware") if isinstance(hardware(n), Accelerator)]
    raise ConfigError(f"hardware sheet {name} is of a CPU; an accelerator is wanted: {', '.join(able)}")


def prices(name: str) -> Prices:
    path = shipped("prices", name)
    return validate({"name": path.stem, **read_yaml(path)}, Prices, where=str(path))
