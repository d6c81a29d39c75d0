from __future__ import annotations

from dataclasses import replace

import pytest

from berry.pipeline.config.sections.rewards import StepTag
from berry.pipeline.config.sections.rollout.rollout import DelimiterStep
from berry.pipeline.config.sections.synthetic import SyntheticEngine
from berry.pipeline.engines.synthetic.engine import Synthetic
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.engines.text.vocabulary import Vocabulary
from berry.pipeline.errors import ConfigError
from berry.pipeline.rewards.model.render import renderer
from berry.pipeline.rewards.training.examples import LabelledPath
from berry.pipeline.rewards.training.retokenize import translate

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789+-= \n#"


def spelling(fingerprint: str, order: str = LETTERS) -> Vocabulary:
    return Vocabulary(
        fingerprint,
        len(order),
        lambda ids: "".join(order[i] for i in ids),
        lambda text: [order.index(c) for c in text],
    )


GENERATOR = spelling("one")
OTHER = spelling("two", LETTERS[::-1])
STEP = DelimiterStep(delimiters=("\n",))


def test_the_same_tokenizer_is_never_tokenised_again() -> None:
    render = renderer(GENERATOR, replace(OTHER, fingerprint="one"), step=STEP)
    assert render([1, 2], [3, 4]) == [1, 2, 3, 4]


def test_another_tokenizer_reads_the_text_and_keeps_prefixes() -> None:
    render = renderer(GENERATOR, OTHER, step=STEP)
    prompt, response = GENERATOR.encode("1+1"), GENERATOR.encode("a=2\nb=3\n2")
    whole = render(prompt, response)
    assert OTHER.decode(whole) == "1+1a=2\nb=3\n2"
    shorter = render(prompt, GENERATOR.encode("a=2\n"))
    assert whole[: len(shorter)] == shorter


def test_step_tags_stand_behind_every_step() -> None:
    render = renderer(GENERATOR, OTHER, step=STEP, tag=StepTag(tag="#"))
    ids = render(GENERATOR.encode("1+1"), GENERATOR.encode("a=2\n\nb=3\n"))
    assert OTHER.decode(ids) == "1+1a=2#b=3#"


def test_a_tag_must_be_one_token() -> None:
    with pytest.raises(ConfigError, match="is 2 tokens"):
        renderer(GENERATOR, OTHER, step=STEP, tag=StepTag(tag="##"))


def test_training_sees_what_scoring_reads() -> None:
    text = "a=2\nb=3\n2"
    path = LabelledPath(
        problem_id="p",
        trajectory_id="t",
        round_index=0,
        prompt_ids=tuple(GENERATOR.encode("1+1")),
        response_ids=tuple(GENERATOR.encode(text)),
        ends=(4, 8, 9),
        soft=(1.0,) * 3,
        hard=(True,) * 3,
        visits=(1,) * 3,
        first=(True,) * 3,
        passed=True,
        answer="2",
    )
    made = translate(path, GENERATOR, OTHER)
    render = renderer(GENERATOR, OTHER, step=STEP)
    for end, new_end in zip(path.ends, made.ends, strict=True):
        seen = [*made.prompt_ids, *made.response_ids[:new_end]]
        assert seen == render(path.prompt_ids, path.response_ids[:end])


def test_a_fresh_backbone_spells_the_synthetic_engines_numbers() -> None:
    config = SyntheticEngine()
    generator = vocabulary.of_engine(config)
    reader = vocabulary.for_fresh(generator)
    engine = Synthetic(config)
    chain = engine.chain(engine.encode([{"role": "user", "content": "x"}]))
    step = chain.step(0, chain.totals[0], chain.totals[1])
    ids = reader.encode(step.text)
    assert reader.size < 300 < generator.size
    assert max(ids) < reader.size
    assert [i for i in ids if i < 256] == [ord(c) for c in step.text if c.isdigit()]
    assert reader.fingerprint != generator.fingerprint
    prompt = "Start with 4213. Then add 5, subtract 17. What is the result?"
    assert len(reader.encode(prompt)) == 13
    assert reader.decode(reader.encode(prompt)) == prompt


def test_fingerprints_tell_tokenizers_apart(tmp_path) -> None:
    ours = vocabulary.of_folder("tests/models/tiny-arithmetic")
    assert ours.fingerprint == vocabulary.of_folder("tests/models/tiny-arithmetic").fingerprint
    ours.pieces.add_tokens(["<extra>"])
    ours.pieces.save_pretrained(tmp_path)
    assert vocabulary.of_folder(str(tmp_path)).fingerprint != ours.fingerprint
