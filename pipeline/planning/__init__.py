"""Foretells what a run would do, before a GPU hour is spent.

sheets (hardware, prices), models (config.json) ─┐
PlanConfig.workload ─► tree_shape, tool_calls ───┤
Cluster ─► core.placement ───────────────────────┴─► engines ─► capacity ─► totals     formulas: what these compute by
                                                                   │
finished run ─► runs (measure, calibrate) ─► Calibration ──────────┤
                                                                   ├─► advice, training (beside a round)
sweeps (settings ─► points ─► knees), sweep_file ◄─────────────────┘
"""
