"""New problems from given ones, each with its own check.

original ─► rephrase    the engine's words;   answers are distributed as the original's ────────────┐
        ├─► numbers     other numbers;        programs that solve the original agree ───────────────┤
        ├─► reseed      another seed;         the drawn answer passes its own verifier ─────────────┼─► records.Attempt
        └─► difficulty  harder or easier;     a majority agrees, the pass rate moves the right way ─┘         │
                                                                                                           parts
rephrase, difficulty ─► drafting (prompts, rounds)     numbers ─► slots, programs                             │
all of them ─► tools ─► asking (engine ─► texts), answers (texts ─► Spread), screening     duplicates ◄─── merging
"""
