"""Checks responses against specifications; verdicts are pass, fail or unverifiable. Knows neither Ray nor trees.

specs (how a problem is checked) ─┐
response ─► checker.Checker.check ┴─► registry ─► kinds (one module a kind) ─► base.Verdict
            inline.check_inline                    │
            (no sandbox needed)                    ├─ extract ─► sentences ─► formulas: where the answer is
                                                   ├─ code_blocks: where the program is in the response
                                                   ├─ maths ─► symbolic (computer algebra in a confined worker)
                                                   ├─ proofs: Coq and Lean
                                                   ├─ context.judge, judges ─► chat_judge (a judge model over HTTP)
                                                   └─ sandbox_limits ─► sandboxes.SandboxPool: where programs run
config: sizes and limits of a checker     context: what a kind may use     sources: is a problem's own code Python
"""
