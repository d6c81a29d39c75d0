"""Trains reward models and the generator from a run's stored trees, and brings new weights into a run.

dataset.reading ─► splits ─┬─► step_labels (ground_truth) ─► reward_data ─┬─► reward_model ─┐
                           └─► sft_examples ──────────────────────────────┼─────────────────┼─► after_round
                                                               backbone ──┘                 │
                                            push_weights (from outside) ────────────────────┴─► weights.json
"""
