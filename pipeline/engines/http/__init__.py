"""Asks servers elsewhere for samples, by token ids.

HttpEngine ─► checks (what the servers say of themselves)
Request ─► engine ─► servers (which one) ─► exchange (one answer, line by line) ─► completions | sglang ─► Sample
"""
