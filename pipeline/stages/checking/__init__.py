"""Puts responses to verifiers: those of a search, and those of a file.

question (problem and response ─► what a verifier is asked)
responses (a file of responses ─► a file of verdicts)     engine_judge (a model of an engine as the judge)
"""
