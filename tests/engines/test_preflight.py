"""A model that completes another's token ids has to read them alike."""

from __future__ import annotations

import pytest

from berry.pipeline.config.sections.engine import VllmEngine
from berry.pipeline.config.sections.synthetic import SyntheticEngine
from berry.pipeline.engines.preflight import check_reads_ids_of
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.errors import ConfigError


def test_completions_of_another_tokenizer_are_refused() -> None:
    tiny, tool = VllmEngine(model="tiny-arithmetic"), VllmEngine(model="tiny-tool")
    check_reads_ids_of(tiny, VllmEngine(model="tiny-arithmetic", max_num_seqs=8))
    with pytest.raises(ConfigError, match="tiny-tool has another tokenizer than tiny-arithmetic, which made this run"):
        check_reads_ids_of(tiny, tool)
    with pytest.raises(ConfigError, match="tiny-arithmetic has another tokenizer than synthetic"):
        check_reads_ids_of(SyntheticEngine(), tiny)


def test_engines_of_several_tokenizers_are_not_read_as_one() -> None:
    tiny, tool = VllmEngine(model="tiny-arithmetic"), VllmEngine(model="tiny-tool")
    spoken = vocabulary.of_all({"a": tiny, "b": VllmEngine(model="tiny-arithmetic")}, remedy="")
    assert spoken.fingerprint == vocabulary.of_engine(tiny).fingerprint
    with pytest.raises(ConfigError, match="a and b have different tokenizers: name a mode"):
        vocabulary.of_all({"a": tiny, "b": tool}, remedy="name a mode")
