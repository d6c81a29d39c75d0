"""Turns a run's stored trees into files that trainers read.

dataset.reading ─► registry ─► sft | dpo | pairs | orm | prm | rl (records, layouts) ─► export ─► files, manifest
                               └── base, preferences, turns              exactness ──┘
"""
