"""Verdicts one can train on. Knows neither Ray nor trees; useful on its own.

specs, code_specs (the tagged union in problem files) ─┐
response ─► checker.Checker.check ─► registry ─► one module a kind ─► base.Verdict
                 │                                   │
                 │        extract: where the answer or the program is in the response
                 │        math ─► maths/ (the ladder) ─► symbolic (sympy in a confined worker)
                 │        python_function  stdio  program_tests  program_of_thought  custom  reasoning_gym
                 │        formal ─► coq, lean ─► lean_home, lean_repl   expression  majority  combine
                 │        model ─► chat_judge
                 └─ sandboxes.SandboxPool: where programs run
"""
