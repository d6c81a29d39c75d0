"""Defines what every section of the configuration shares."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Frozen; unknown keys are refused. Attribute docstrings are the keys' documentation, which `reference` reads: had
    pydantic read them, every process would parse all of these files as it starts."""

    model_config = ConfigDict(extra="forbid", frozen=True)
