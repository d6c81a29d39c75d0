"""Checks proofs with the proof assistants themselves, confined.

kinds.formal ─► coq ─► sandbox (coqc, a fresh process a step)
             ─► lean ─► lean_install (where Lean is) ─► lean_repl (the REPL's protocol, warm processes)
"""
