"""Runs on the host's side of the pipes: owns the sandbox's processes and reads what comes from them.

queue: whose turn it is
slots ─► template ─► slot ─► child ─► records (Ended) ─► outcomes
"""
