"""Kinds of verifier that run a program in the sandbox, the response's or a query, and compare what comes back.

python_function, stdio, program_tests, program_of_thought ─► plain_values (compares values)     sql (compares rows)
"""
