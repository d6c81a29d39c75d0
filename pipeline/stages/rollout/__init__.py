"""Runs the searches of a lease on one engine, and commits what they gave.

worker (a lease, from its journal to its commit) ─► admission (when the next search begins)
    ─► search_loop (one search) ─► commands (what it asks for, of engine, verifier, scorer and budget)
                 └─► journal (its events, for a restart) ─► pending (commands without an answer)
    final_scores (reward models on finished searches)     named_scorer (which of several models a mode asks)
    leaf_budget (shared by the problems of a lease)
    ─► assembly (its rows, in a thread), then the commit
    loop_delay (whether anything holds up the engine's event loop)
"""
