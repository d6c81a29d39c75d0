"""Holds the functions behind the public names of `berry`; nothing else imports them.

response + verifier ─► verify ─► Verdict
YAML + overrides ─► runs.load_config ─► RunConfig ─► runs.run ─► runs.Run ─► trees, trajectories, kept
"""
