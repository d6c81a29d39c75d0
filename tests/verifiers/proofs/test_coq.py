"""Coq in the jail: what proves, what does not, and what tries to bend the check."""

from __future__ import annotations

import shutil

import pytest

from berry.verifiers.base import Reason
from berry.verifiers.proofs import vernacular
from berry.verifiers.proofs.coq import axioms
from berry.verifiers.proofs.vernacular import without_comments
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


FALSE = FormalSpec(system="coq", statement="Theorem t : forall n : nat, n = 0.")


@needs_coq
@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "proof", "reason"),
    [
        pytest.param(
            FALSE,
            "Class Wrong := wrong : False.\nTheorem t `{W : Wrong} : forall n : nat, n = 0.\nProof. destruct W. Qed.",
            Reason.WRONG_ANSWER,
            id="a class argument that stays open",
        ),
        pytest.param(
            FALSE,
            "Theorem t {p : False} : forall n : nat, n = 0.\nProof. destruct p. Qed.",
            Reason.WRONG_ANSWER,
            id="an implicit argument",
        ),
        pytest.param(
            FALSE,
            "Class Shape := shape : nat -> Prop.\nExisting Class Shape.\n"
            "Instance all : Shape := fun _ => True.\n"
            "Theorem t {S : Shape} : (forall n : nat, S n) -> forall n : nat, n = 0.\n"
            "Proof. Fail reflexivity. intros. Abort.\n"
            "Definition t {S : Shape} := fun n : nat => I.",
            Reason.WRONG_ANSWER,
            id="an instance that fills the argument",
        ),
        pytest.param(
            FALSE,
            "Coercion nope (u : True) : (forall n : nat, n = 0) -> True := fun _ => u.\n"
            "Theorem t : True.\nProof. exact I. Qed.",
            Reason.COMPILE_ERROR,
            id="a coercion that makes no sense",
        ),
        pytest.param(
            FormalSpec(system="coq", statement=MIDDLE, axioms=("Coq.Logic.Classical_Prop.classic",)),
            "Require Import Classical.\nTheorem t : forall P : Prop, P \\/ ~ P.\nProof. exact classic. Qed.",
            Reason.CORRECT,
            id="an allowed axiom by its full name",
        ),
        pytest.param(
            FormalSpec(system="coq", statement=MIDDLE, axioms=("classic",)),
            "Require Import Classical.\nTheorem t : forall P : Prop, P \\/ ~ P.\nProof. exact classic. Qed.",
            Reason.DISALLOWED,
            id="a short name that the problem itself can't mean",
        ),
        pytest.param(
            FormalSpec(
                system="coq", statement="Theorem t : forall n : nat, n = 0.", header="Axiom cheat : forall n, n = 0."
            ),
            "exact cheat.",
            Reason.DISALLOWED,
            id="an axiom of the header that is not allowed",
        ),
        pytest.param(
            FormalSpec(
                system="coq",
                statement="Theorem t : forall n : nat, n = 0.",
                header="Axiom cheat : forall n, n = 0.",
                axioms=("cheat",),
            ),
            "exact cheat.",
            Reason.CORRECT,
            id="an axiom of the header that is allowed",
        ),
        pytest.param(
            FormalSpec(
                system="coq", statement="Theorem t : forall a b, a * b = b * a.", header="Require Import Arith Lia."
            ),
            "Ltac mine := intros; ring.\nLemma h (a b : nat) : a * b = b * a.\nProof.\n"
            "  induction a as [| a IH].\n  - simpl. auto.\n  - { simpl. rewrite IH. lia. }\nQed.\n"
            "Theorem t : forall a b, a * b = b * a.\nProof. (* by the lemma *) mine. Qed.",
            Reason.CORRECT,
            id="honest: lemmas, bullets, braces, comments, a tactic of its own",
        ),
    ],
)
def test_the_theorem_alone_counts_with_nothing_inferred(check, spec, proof, reason) -> None:
    verdict = check(spec, proof)
    assert verdict.reason is reason, dict(verdict.evidence)


HONEST = """
From Coq Require Import Arith Lia.
Open Scope nat_scope.
Set Implicit Arguments.
Local Notation "x +++ y" := (x + y) (at level 50).
#[local] Hint Resolve Nat.add_comm : core.
Fixpoint sum (l : list nat) : nat := match l with nil => 0 | cons x r => x +++ sum r end.
Section S.
  Let two := 2.
  Lemma a : two = 2. Proof. reflexivity. Qed.
End S.
Theorem t : 1 + 1 = 2.
Proof.
  (* "Redirect" *) assert (H : 1.+1 = 2) by reflexivity. 1: { exact H. }
Qed.
"""


def test_honest_commands_are_not_refused() -> None:
    assert vernacular.refused(without_comments(HONEST) or "") is None


@pytest.mark.parametrize(
    "command",
    [
        "Axiom(**)cheat : False.",
        'Redirect(**)"Gold" Print nat.',
        'exact I. } Redirect "Gold" Print nat.',
        'Time Redirect "Gold" Print nat.',
        'Print Universes "Gold.vo".',
        'Print(**)Universes(**)"Gold.vo".',
        'Extraction "main.sh" nat.',
        "Separate Extraction nat.",
        "Require Extraction.",
        'Load "main".',
        'Cd "/".',
        'Declare(* *)ML Module "x".',
        "Declare Instance cheat : False.",
        "Declare Module M : T.",
        "Context (cheat : False).",
        "Section S. Variable cheat : False. End S.",
        "Admit Obligations.",
        "#[bypass_check(guard)] Fixpoint f (n : nat) : False := f n.",
        "#[global] Set Universe Checking.",
        "Global Set Printing All.",
        "Unset Universe Checking.",
        "Unset Positivity Checking.",
        "Set Printing Width 3.",
        "Primitive cheat := #int63_add.",
        "Register nat as core.nat.type.",
        'Add LoadPath "/".',
        'Add ML Path "/".',
        "Ltac2 Eval 1.",
        "native_compute.",
        "Something new.",
    ],
)
def test_commands_that_reach_beyond_the_proof_are_refused_by_a_parse(check, command) -> None:
    verdict = check(TWO, f"Lemma l : True.\nProof. exact I. Qed.\n{command}\n- reflexivity.")
    assert verdict.reason is Reason.DISALLOWED, dict(verdict.evidence)


@needs_coq
@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ('Print Universes "Header.vo".', Reason.DISALLOWED),
        ('Print Universes "main.sh".', Reason.CORRECT),
        ('Redirect "Check" Print nat.', Reason.CORRECT),
        ("Axiom cheat : False.\nLemma l : 1 + 1 = 2. Proof. destruct cheat. Qed.", Reason.CORRECT),
        ("Axiom t : 1 + 1 = 2.\nModule M.", Reason.COMPILE_ERROR),
    ],
    ids=["the problem's own file", "the script", "a file that is made later", "an unused axiom", "an open module"],
)
def test_what_the_parse_might_miss_changes_no_verdict_either(check, monkeypatch, command, reason) -> None:
    monkeypatch.setattr(vernacular, "refused", lambda text: None)
    verdict = check(TWO, f"{command}\nTheorem t : 1 + 1 = 2.\nProof. reflexivity. Qed.")
    assert verdict.reason is reason, dict(verdict.evidence)


@pytest.mark.slow
@needs_coq
@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("Axiom classic : forall n : nat, n = 0.", "classic"),
        (
            "Module Classical_Prop. Axiom classic : forall n : nat, n = 0. End Classical_Prop.",
            "Classical_Prop.classic",
        ),
        ("Parameter P : Type -> Prop. Conjecture classic : forall n : nat, n = 0.", "classic"),
        ("Lemma classic : forall n : nat, n = 0. Admitted.", "classic"),
    ],
    ids=["an axiom", "a module that is called like a library", "a conjecture", "a lemma that is admitted"],
)
def test_an_axiom_of_the_responses_own_counts_under_no_name(check, monkeypatch, command, name) -> None:
    monkeypatch.setattr(vernacular, "refused", lambda text: None)
    allowed = ("classic", "Classical_Prop.classic", "Coq.Logic.Classical_Prop.classic")
    spec = FALSE.model_copy(update={"axioms": allowed, "header": "Require Import Classical."})
    verdict = check(spec, f"{command}\nTheorem t : forall n : nat, n = 0.\nProof. exact {name}. Qed.")
    assert verdict.reason is Reason.DISALLOWED, dict(verdict.evidence)
    assert "rests on Answer." in verdict.evidence["note"]


def test_the_script_is_one_command_so_that_writing_to_it_changes_nothing() -> None:
    from berry.verifiers.proofs.coq import files, script

    lines = script(files(TWO, "t", "reflexivity.", "reflexivity.", "w"), "w", "m").splitlines()
    assert (lines[0], lines[-2:]) == ("{", ["exit 0", "}"])


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
    assert without_comments("(* Admitted (* nested *) *) exact I.") == "  exact I."
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
