"""What a run would do, before a GPU hour is spent.

sheets (hardware, prices), models (config.json) ─┐
PlanConfig.workload ─► shape (tree, sharing) ────┤
Cluster ─► layout ───────────────────────────────┴─► roofline ─► engines ─► queueing, circle ─► capacity ─► totals
                                                                                                  │
finished run ─► runs (measure, calibrate) ─► Calibration ─────────────────────────────────────────┤
                                                                                                  ├─► advice
sweeps (settings ─► points ─► knees), sweep_file ◄────────────────────────────────────────────────┘
"""
