"""Coq in the jail: what proves, what does not, and what tries to bend the check."""

from __future__ import annotations

import shutil

import pytest

from berry.verifiers.base import Reason
from berry.verifiers.proofs.coq import axioms, without_comments
from berry.verifiers.specs.union import FormalSpec

TWO = FormalSpec(system="coq", statement="Theorem t : 1 + 1 = 2.")
MIDDLE = "Theorem t : forall P : Prop, P \\/ ~ P."
needs_coq = pytest.mark.skipif(shutil.which("coqc") is None, reason="coqc is not installed")


@needs_coq
@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "proof", "reason"),
    [
        pytest.param(TWO, "```coq\nreflexivity.\n```", Reason.CORRECT, id="proof alone"),
        pytest.param(TWO, "Theorem t : 1 + 1 = 2.\nProof. reflexivity. Qed.", Reason.CORRECT, id="statement and proof"),
        pytest.param(
            FormalSpec(system="coq", statement="Theorem z (n : nat) : n + 0 = n.", header="Require Import PeanoNat."),
            "Lemma h : forall n, n + 0 = n.\nProof. apply Nat.add_0_r. Qed.\n"
            "Theorem z (n : nat) : n + 0 = n.\nProof. apply h. Qed.",
            Reason.CORRECT,
            id="a lemma before it",
        ),
        pytest.param(TWO, "discriminate.", Reason.COMPILE_ERROR, id="a tactic that fails"),
        pytest.param(TWO, "Theorem t : True.\nProof. exact I. Qed.", Reason.WRONG_ANSWER, id="another statement"),
        pytest.param(
            FormalSpec(system="coq", statement="Theorem t : 1 + 1 = 3."),
            'Notation "1 + 1 = 3" := True.\nTheorem t : 1 + 1 = 3.\nProof. exact I. Qed.',
            Reason.WRONG_ANSWER,
            id="a notation for another statement",
        ),
        pytest.param(
            FormalSpec(system="coq", statement="Theorem t : forall n : nat, n = 0."),
            'Inductive nat := O.\nNotation "0" := O.\nTheorem t : forall n : nat, n = 0.\n'
            "Proof. intro n; destruct n; reflexivity. Qed.",
            Reason.WRONG_ANSWER,
            id="another nat",
        ),
        pytest.param(
            FormalSpec(system="coq", statement=MIDDLE, header="Require Import Classical."),
            "intro P. apply classic.",
            Reason.DISALLOWED,
            id="an axiom of the library",
        ),
        pytest.param(
            FormalSpec(
                system="coq",
                statement=MIDDLE,
                header="Require Import Classical.",
                axioms=("classic",),
            ),
            "intro P. apply classic.",
            Reason.CORRECT,
            id="an axiom that is allowed",
        ),
        pytest.param(
            FormalSpec(system="coq", statement="Theorem t : 1 + = 2."),
            "reflexivity.",
            Reason.GOLD_UNPARSABLE,
            id="no statement",
        ),
    ],
)
def test_proofs(check, spec, proof, reason) -> None:
    verdict = check(spec, proof)
    assert (verdict.reason, verdict.outcome) == (reason, reason.outcome), dict(verdict.evidence)


@pytest.mark.parametrize(
    "proof",
    [
        "Theorem t : 1 + 1 = 2. Admitted.",
        "admit.",
        "Axiom cheat : False. Theorem t : 1 + 1 = 2. Proof. destruct cheat. Qed.",
        "Unset Guard Checking. reflexivity.",
        '(* *) Declare ML Module "x". reflexivity.',
        'Redirect "Gold" Print nat. reflexivity.',
        "Parameter p : False. exact I.",
    ],
)
def test_what_could_bend_the_check_is_refused_before_coq_runs(check, proof) -> None:
    assert check(TWO, proof).reason is Reason.DISALLOWED


def test_comments_hide_nothing() -> None:
    assert without_comments("(* Admitted (* nested *) *) exact I.") == " exact I."
    assert without_comments("a (* never closed") is None
    assert without_comments('idtac "never closed.') is None
    assert "Admitted" in (without_comments('idtac "(*". Admitted. idtac "*)".') or "")


def test_a_list_of_axioms_that_is_not_understood_counts_as_one() -> None:
    assert axioms("Closed under the global context\n") == set()
    assert axioms("Axioms:\nclassic : forall P : Prop, P \\/ ~ P\nfoo.bar\n  : nat\n") == {"classic", "foo.bar"}
    assert axioms("something new") == {"something new"}
    assert axioms("") == {"nothing printed"}


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("", Reason.NO_CODE),
        ("x" * 70_000, Reason.ANSWER_TOO_LARGE),
        ("(* open", Reason.UNPARSABLE_ANSWER),
        ("\0", Reason.UNPARSABLE_ANSWER),
    ],
)
def test_bad_proofs_have_reasons(check, response, reason) -> None:
    assert check(TWO, response).reason is reason
