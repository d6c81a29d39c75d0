"""Checks, before anything is started, that every engine of a run can do what the run asks of it.

RunConfig ─► check_each_engine ─► model, device or servers; template arguments; tool turns
"""

from __future__ import annotations

from berry.pipeline.config.run import RunConfig
from berry.pipeline.engines.build import preflight
from berry.pipeline.engines.text.template_args import check_template_args
from berry.pipeline.engines.text.vocabulary import check_tool_turns
from berry.pipeline.errors import ConfigError


def check_each_engine(config: RunConfig) -> None:
    """Raises ConfigError or ResourceError for what would fail later. Starts nothing."""
    for name, alone in config.each_engine.items():
        try:
            preflight(alone.engine, role_gpus=alone.cluster.roles.rollout.gpus)
            check_template_args(alone)
            for one in alone.each_mode:
                check_tool_turns(one.engine, one.rollout)
        except ConfigError as error:
            raise ConfigError(f"engines.{name}: {error}" if name else str(error)) from error
