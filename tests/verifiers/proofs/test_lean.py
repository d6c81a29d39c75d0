"""Lean's REPL protocol against a recorded dialogue; the real thing where it is installed.

`lean_dialogue.jsonl` holds what goes to the REPL and what comes back, in the form that its documentation gives.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from berry.verifiers.base import Reason
from berry.verifiers.proofs import lean
from berry.verifiers.proofs.lean import assemble, axioms, prove, without_comments
from berry.verifiers.proofs.lean_repl import LeanRepl, ReplDied, WarmRepls
from berry.verifiers.specs.union import FormalSpec

LINES = [json.loads(line) for line in (Path(__file__).parent / "lean_dialogue.jsonl").read_text("utf-8").splitlines()]
SPEC = FormalSpec(system="lean", statement="theorem t : 1 + 1 = 2", header="import Init")


class Recorded:
    """A transport that answers each question as the record does, and fails on one that is not in it."""

    opened = 0

    def __init__(self) -> None:
        type(self).opened += 1
        self.sent: list[dict] = []
        self.closed = False

    async def send(self, text: str) -> None:
        assert text.endswith("\n\n")
        self.sent.append(json.loads(text))

    async def receive(self) -> str:
        for line in LINES:
            if line["send"] == self.sent[-1]:
                return json.dumps(line["receive"])
        raise ReplDied(f"not in the record: {self.sent[-1]}", Reason.SANDBOX_FAULT)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def _known_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean.secrets, "token_hex", lambda _: "w")


async def recorded() -> Recorded:
    return Recorded()


async def reason_of(proof: str, spec: FormalSpec = SPEC) -> Reason:
    return (await prove(spec, "t", proof, recorded, WarmRepls(), wall_s=5)).reason


@pytest.mark.parametrize(
    ("proof", "reason"),
    [
        ("by rfl", Reason.CORRECT),
        (":= by rfl", Reason.CORRECT),
        ("theorem t : 1 + 1 = 2 := by rfl", Reason.CORRECT),
        ("by exact absurd", Reason.COMPILE_ERROR),
        ("by decide", Reason.DISALLOWED),  # the record has Lean's warning about sorry
        ("by simp", Reason.DISALLOWED),  # rests on an axiom that is not allowed
        ("theorem t : True := by rfl", Reason.WRONG_ANSWER),
        ("by sorry", Reason.DISALLOWED),
        ("by native_decide", Reason.DISALLOWED),
        ("by rfl\n#eval 1", Reason.DISALLOWED),
        ("axiom cheat : False\ntheorem t : 1 + 1 = 2 := cheat.elim", Reason.DISALLOWED),
        ("set_option debug.skipKernelTC true in\ntheorem t : 1 + 1 = 2 := by rfl", Reason.DISALLOWED),
        ('macro "t" : command => `(x)', Reason.DISALLOWED),
        ("variable (h : False)\ninclude h\ntheorem t : 1 + 1 = 2 := h.elim", Reason.WRONG_ANSWER),
        ('def s := "theorem t : 1 + 1 = 2 :="\ntheorem t : True := trivial', Reason.WRONG_ANSWER),
        ("x/- -/axiom cheat : False", Reason.DISALLOWED),
        ('def a := "/-"\naxiom cheat : False\ndef b := "-/"', Reason.DISALLOWED),
        ('def q := \'"\'\ndef a := "/-"\naxiom cheat : False\ndef b := "-/"', Reason.DISALLOWED),
        ('def a := r"\\"\naxiom cheat : False\ndef b := "x"', Reason.UNPARSABLE_ANSWER),  # raw strings
        ('def a := r#"x"#', Reason.DISALLOWED),
        ("@[command_elab x] def e := 1", Reason.DISALLOWED),
        ("@[simp, term_elab x] def e := 1", Reason.DISALLOWED),
        ("attribute [tactic x] e", Reason.DISALLOWED),
        ("open Lean Elab", Reason.DISALLOWED),
        ("/- never closed", Reason.UNPARSABLE_ANSWER),
        ('"never closed', Reason.UNPARSABLE_ANSWER),
        ("by omega", Reason.SANDBOX_FAULT),  # not in the record: the REPL died
    ],
)
async def test_what_the_repl_says_becomes_a_verdict(proof, reason) -> None:
    assert await reason_of(proof) is reason


async def test_a_header_that_fails_is_the_problems_fault() -> None:
    spec = SPEC.model_copy(update={"header": "import Nowhere"})
    assert await reason_of("by rfl", spec) is Reason.GOLD_UNPARSABLE


async def test_allowed_axioms_are_the_problems_choice() -> None:
    spec = SPEC.model_copy(update={"axioms": ("propext", "Classical.choice", "Cheat.ax")})
    assert await reason_of("by simp", spec) is Reason.CORRECT


async def test_a_warm_repl_reads_its_header_once_and_the_recheck_is_always_fresh() -> None:
    Recorded.opened = 0
    repls = WarmRepls()
    for _ in range(3):
        assert (await prove(SPEC, "t", "by rfl", recorded, repls, wall_s=5)).passed
    assert Recorded.opened == 4  # one that stays warm, and one for each re-check
    async with repls.lend(recorded) as repl:
        transport = repl._transport
        assert [q["cmd"] for q in transport.sent].count("import Init") == 1  # type: ignore[attr-defined]
    await repls.close()
    assert transport.closed  # type: ignore[attr-defined]


async def test_noise_instead_of_json_is_a_fault() -> None:
    class Noise(Recorded):
        async def receive(self) -> str:
            return "Segmentation fault"

    with pytest.raises(ReplDied):
        await LeanRepl(Noise()).command("x", env=None)


def test_statement_and_proof_are_put_together() -> None:
    assert assemble(SPEC, "t", "rfl", "rfl") == "theorem t : 1 + 1 = 2 := by\n  rfl"
    lemma = "lemma h : True := trivial\ntheorem t :  1 + 1\n = 2 := by rfl"
    assert assemble(SPEC, "t", lemma, lemma) == lemma
    assert assemble(SPEC, "t", "theorem t : 1 + 1 = 3 := rfl", "theorem t : 1 + 1 = 3 := rfl") is None
    assert without_comments("a -- sorry\nb /- x /- y -/ -/ c") == "a \nb   c"


def test_a_list_of_axioms_that_is_missing_is_not_an_empty_one() -> None:
    assert axioms([]) is None
    assert axioms([{"severity": "error", "data": "unknown constant 't'"}]) is None
    assert axioms([{"severity": "info", "data": "'t' depends on axioms: [propext]"}]) == {"propext"}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("repl") is None, reason="no Lean REPL on the path")
def test_the_real_repl(check) -> None:
    spec = FormalSpec(system="lean", statement="theorem t : 1 + 1 = 2")
    assert check(spec, "by rfl").passed
    assert check(spec, "by exact absurd").reason is Reason.COMPILE_ERROR
    assert check(spec, "theorem t : 1 + 1 = 2 := by rfl").passed
    false = FormalSpec(system="lean", statement="theorem t : ∀ n : Nat, n = 0")
    hostile = "variable (h : False)\ninclude h\ntheorem t : ∀ n : Nat, n = 0 := h.elim"
    assert check(false, hostile).reason is Reason.WRONG_ANSWER


def test_without_lean_the_check_could_not_be_made(check) -> None:
    if shutil.which("repl") is not None:
        pytest.skip("Lean is installed")
    assert check(SPEC, "by rfl").reason is Reason.MISSING_TOOL


@pytest.mark.parametrize(
    "source",
    [
        "def «/-» := 1\nrun_cmd evil\ndef «-/» := 1",
        "def «--» := 1 run_cmd evil",
        'theorem x\' (h : a\' = "/-") := run_cmd evil "-/"',
    ],
)
def test_quoted_names_hide_nothing(source) -> None:
    text = without_comments(source)
    assert text is not None
    assert "run_cmd" in text


@pytest.mark.parametrize("source", ["℃'\"' -- \" run_cmd evil", "x!'-'-- run_cmd evil", "def «a := run_cmd evil"])
def test_what_can_be_read_in_two_ways_is_refused(source) -> None:
    assert without_comments(source) is None


def test_honest_primes_and_characters_are_read() -> None:
    for source in ("h₁' h₂' a'", "('a', 'b')", "x' + y'", "'\\n'", "f 'x' 'y'"):
        assert without_comments(source) == source
