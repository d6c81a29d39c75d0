"""Simulates an engine without a model: a stochastic process whose true values are known.

Request ─► engine ─► draw (a sampled segment) ─► process (steps, error rates, true values) ─► Sample
             └── cache (prompt tokens that a prefix cache would have held)
"""
