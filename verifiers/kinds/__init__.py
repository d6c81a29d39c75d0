"""Checks responses, one module a kind of verifier; each has `verify(request, context)` and `fault(spec)`.

the answer     extract ─► math ─► maths/, symbolic        expression        majority (all responses of a problem)
               extract ─► reasoning_gym ─► sandbox        extract ─► choice
the program    extract ─► python_function, stdio, program_tests ─► sandbox ─► plain_values (compare what came back)
               extract ─► program_of_thought ─► sandbox ─► math
the proof      extract ─► formal ─► proofs/
               extract ─► sql ─► sandbox ─► rows compared here
the text       constraints        json_schema
the whole      model, rubric ─► a judge model        custom ─► the user's function, in the sandbox
               environment: a run's environment has ended the episode
verdicts       combine: all_of, any_of, weighted
"""
