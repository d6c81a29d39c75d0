"""Checks responses, one module a kind of verifier; each has `verify(request, context)` and `fault(spec)`.

the answer     extract ─► math ─► maths/, symbolic        expression        majority (all responses of a problem)
               extract ─► reasoning_gym ─► sandbox        extract ─► choice
the program    extract ─► programs/ ─► sandbox ─► what came back is compared
the proof      extract ─► formal ─► proofs/
the text       texts/
the whole      model, rubric ─► a judge model        custom ─► the user's function, in the sandbox
               environment: a run's environment has ended the episode
verdicts       combine: all_of, any_of, weighted
"""
