"""Trains value models, and the generator on what was kept.

examples (labelled paths ─► samples) ─► reward_trainer ─► blend_fit ─► evaluation ─► metrics, calibration_plot
examples (kept responses) ─► policy_trainer
retokenize    labelled paths in another tokenizer's ids        checkpoints    whole ones, of the same training
trainer_parts  what both trainers give to transformers' Trainer
"""
