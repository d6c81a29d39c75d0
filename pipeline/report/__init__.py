"""Shows what is known of runs, plans, sweeps and evaluations: figures for the terminal, and pages with pictures.

a run       summary, rounds, pruning, balance, against_plan ─► page/ (report.html), browser/ (trees)    status (live)
a plan      plan_page, plots        a sweep    sweep_page, sweep_plots        an evaluation    eval_page, eval_plots
"""
