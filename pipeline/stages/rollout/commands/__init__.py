"""Executes what a search asks for, and brings its answers back as events.

executor (commands) ─► ports (engine, verifier, scorer, budget)
    ├─► calling (tool calls)
    └─► episodes (turns of an environment)
"""
