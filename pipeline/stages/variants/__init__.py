"""Makes new problems from given ones, each with its own check.

original ─┬─► rephrase    the engine's words;   answers are distributed as the original's ──────┐
          ├─► renumber    other numbers;        programs that solve the original agree ─────────┤
          ├─► reseed      another seed;         the drawn answer passes its own verifier ───────┼─► attempts
          └─► difficulty  harder or easier;     a majority agrees, the pass rate moves rightly ─┘

make (all problems) ─► a kind for each ─► checkpoint ─► merge ─► OUT.jsonl, OUT.refused.jsonl
                        │                                 └─► dedup
                        ├─► drafting (rephrase, difficulty), number_slots and solver_programs (renumber)
                        └─► context ─► engines.chat, answer_distribution, problems.decontamination
"""
