"""Checks that a chat template reads the arguments that a run gives it: others would change nothing, and not be missed.

engine.template_args, problems.N.template_args, rollout.modes.N.template_args ─► check_template_args ─► ConfigError
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.engine import VllmEngine
from berry.pipeline.config.sections.synthetic import SyntheticEngine
from berry.pipeline.engines import models
from berry.pipeline.engines.text.tokens import Tokens
from berry.pipeline.errors import ConfigError

OWN = ("messages", "add_generation_prompt")
"""What every rendering sets itself."""
GIVEN = ("tools", "documents")
"""Arguments of apply_chat_template that it hands on to the template."""


class _GenerationTag(Extension):
    """Reads `{% generation %}`, which transformers adds to Jinja, as what stands in it."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own declaration

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def variables_of(template: str) -> set[str]:
    """The variables that a chat template reads of what it is given. Raises ConfigError for one that is no Jinja, or
    that includes others: a model's template stands alone."""
    environment = Environment(extensions=["jinja2.ext.loopcontrols", _GenerationTag])
    try:
        parsed = environment.parse(template)
    except TemplateSyntaxError as error:
        raise ConfigError(f"the chat template, line {error.lineno}: is not valid Jinja: {error.message}") from error
    included = [name or "another one" for name in meta.find_referenced_templates(parsed)]
    if included:
        raise ConfigError(f"the chat template includes {included[0]}, and is rendered alone: put its text in its place")
    return meta.find_undeclared_variables(parsed)


def check_template_args(config: RunConfig) -> None:
    """Raises ConfigError for the first argument that the engine's chat template does not read, with its key. Loads the
    tokenizer only where arguments are given."""
    given = [(place, arguments) for place, arguments in _given(config) if arguments]
    engine = config.engine
    if not given or isinstance(engine, SyntheticEngine):
        return
    if isinstance(engine, VllmEngine):
        folder = models.resolve(engine.model)
    else:
        folder = models.resolve(engine.tokenizer or engine.model, key="engine.tokenizer")
    tokens = Tokens(folder, chat_template=engine.chat_template)
    for place, arguments in given:
        read = variables_of(tokens.template(arguments))
        signature = inspect.signature(tokens.tokenizer.apply_chat_template).parameters
        taken = {*OWN, *(name for name in signature if name not in GIVEN)} - {"kwargs"}
        for name in arguments:
            if name in taken:
                raise ConfigError(f"{place}.{name}: is set by the rendering itself: leave it out")
            if name not in read:
                known = sorted(read - taken - set(tokens.tokenizer.special_tokens_map) - _FUNCTIONS)
                raise ConfigError(
                    f"{place}.{name}: the chat template of {engine.model} does not read it, so that it would change "
                    f"nothing; it reads {', '.join(known) or 'no argument'}: correct the name, leave it out, or set "
                    "engine.chat_template"
                )


_FUNCTIONS = {"raise_exception", "strftime_now"}
"""What transformers gives every template."""


def _given(config: RunConfig) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The arguments of a run with the keys that they stand under."""
    if not isinstance(config.engine, SyntheticEngine):
        yield "engine.template_args", config.engine.template_args
    for number, source in enumerate(config.problems):
        yield f"problems.{number}.template_args", source.template_args
    for number, mode in enumerate(config.rollout.modes):
        yield f"rollout.modes.{number} ({mode.name}).template_args", mode.template_args
