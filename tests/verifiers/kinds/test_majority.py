"""Self-consistency without a gold."""

from __future__ import annotations

import random

from berry.verifiers.base import Outcome, Reason
from berry.verifiers.kinds.majority import canonicalise, consensus, one_spelling
from berry.verifiers.specs.union import MajoritySpec

SPEC = MajoritySpec(threshold=0.6, min_chains=1, confidence=0)
RESPONSES = {
    "a": "\\boxed{\\frac{1}{2}}",
    "b": "The answer is 0.5.",
    "c": "1/2",
    "d": "\\boxed{3}",
    "e": "no idea at all, sorry!",
}


def test_equal_answers_are_one_class_whatever_their_order(warm) -> None:
    loop, checker = warm
    order = list(RESPONSES)
    seen = []
    for seed in range(4):
        random.Random(seed).shuffle(order)
        shuffled = {key: RESPONSES[key] for key in order}
        answers = loop.run_until_complete(canonicalise(shuffled, SPEC, checker.symbolic))
        assert answers["a"] == answers["b"] == answers["c"] != answers["d"]
        assert answers["e"] is None
        seen.append({key: answers[key] for key in sorted(answers)})
    assert all(one == seen[0] for one in seen)


def test_the_heaviest_class_is_the_label() -> None:
    verdicts = consensus({"a": "x", "b": "x", "c": "x", "d": "y", "e": None}, None, SPEC)
    assert [verdicts[k].reason for k in "abcde"] == [
        Reason.CORRECT, Reason.CORRECT, Reason.CORRECT, Reason.WRONG_ANSWER, Reason.NO_ANSWER,
    ]  # fmt: skip
    assert verdicts["d"].evidence["pseudo_label"] == "x"
    assert verdicts["a"].evidence["share"] == 0.75


def test_below_the_threshold_nothing_is_labelled() -> None:
    for answers in (
        {"a": "x", "b": "y", "c": "x", "d": "y"},
        {"a": "x", "b": "x"},
        {"a": "x", "b": "y", "c": "z"},
        {"a": None},
    ):
        verdicts = consensus(answers, None, SPEC)
        assert all(v.outcome is Outcome.UNVERIFIABLE for k, v in verdicts.items() if answers[k] is not None)
        assert not any(v.passed for v in verdicts.values())


def test_leaves_of_one_chain_elect_nothing_however_many_they_are() -> None:
    spec = MajoritySpec(confidence=0)
    answers = {str(i): "x" for i in range(8)}
    one, four = dict.fromkeys(answers, "a"), {key: "abcd"[int(key) % 4] for key in answers}
    assert consensus(answers, None, spec, one)["0"].reason is Reason.NO_CONSENSUS
    assert consensus(answers, None, spec, four)["0"].passed
    heavy = {key: 20.0 if key == "0" else 1.0 for key in answers}  # as a spared branch weighs
    verdict = consensus(answers, heavy, spec, four)["0"]
    assert verdict.reason is Reason.NO_CONSENSUS
    assert verdict.evidence["chains"] < 2


def test_a_lead_that_may_be_chance_elects_nothing() -> None:
    def elected(*votes: int) -> bool:
        answers = {f"{name}{i}": name for name, count in zip("xyz", votes, strict=False) for i in range(count)}
        return consensus(answers, None, MajoritySpec())["x0"].passed

    assert [elected(3), elected(4, 1), elected(6, 1), elected(18, 8), elected(16, 12)] == [
        True, False, True, True, False,
    ]  # fmt: skip


def test_chains_that_agree_within_themselves_need_not_each_be_one_vote() -> None:
    """Four chains of eight leaves; by Korn and Graubard (1998), on paper: the first are 17 votes, the others 4."""

    def elected(*of_eight: int) -> bool:
        names = {f"{chain}{i}": "x" if i < count else "y" for chain, count in enumerate(of_eight) for i in range(8)}
        return consensus(names, None, MajoritySpec(), {key: key[0] for key in names})["00"].passed

    assert elected(6, 7, 6, 5)
    assert not elected(8, 8, 6, 2), "the same share of leaves, but chains that differ"
    assert not elected(8, 8, 8, 0), "three chains against one are four votes"
    assert not elected(6, 6), "two chains are too few, however alike"


def test_weights_move_the_majority() -> None:
    answers = {"a": "x", "b": "x", "c": "y"}
    assert consensus(answers, {"a": 0.1, "b": 0.1, "c": 0.9}, SPEC)["c"].passed
    assert consensus(answers, {"a": 0.0, "b": 0.0, "c": 0.0}, SPEC)["a"].reason is Reason.NO_CONSENSUS


def test_one_response_alone_is_not_judged(check) -> None:
    verdict = check(MajoritySpec(), "The answer is 7.")
    assert (verdict.outcome, verdict.reason, verdict.answer) == (Outcome.UNVERIFIABLE, Reason.NOT_CHECKED, "7")


def test_answers_are_grouped_as_mathematics_after_the_thinking(warm) -> None:
    loop, checker = warm
    responses = {
        "a": "<think>\\boxed{9}</think>So \\boxed{143}.",
        "b": "The answer is $142 \\approx 143$.",
        "c": "<answer>143.0</answer>",
        "d": "\\boxed{142}",
        "e": "<think>it is \\boxed{143}, wait",
    }
    answers = loop.run_until_complete(canonicalise(responses, SPEC, checker.symbolic))
    assert answers == {"a": "143", "b": "143", "c": "143", "d": "142", "e": None}


def test_votes_count_equal_mathematics_as_one_answer_without_a_sandbox() -> None:
    spelled = one_spelling(["1/2", "0.5", "\\frac{1}{2}", "1/2", "3", None])
    assert spelled == {"1/2": "1/2", "0.5": "1/2", "\\frac{1}{2}": "1/2", "3": "3"}


def test_the_preset_decides_what_is_one_class(warm) -> None:
    loop, checker = warm
    responses = {"a": "\\boxed{\\frac13}", "b": "\\boxed{0.3333}", "c": "\\boxed{4} \\boxed{\\frac{2}{6}}"}
    for strictness, classes in (("strict", 2), ("lenient", 1)):
        spec = MajoritySpec.model_validate({"strictness": strictness})
        answers = loop.run_until_complete(canonicalise(responses, spec, checker.symbolic))
        assert len({answer for answer in answers.values() if answer is not None}) == classes
        assert (answers["c"] is None) is (strictness == "strict")
