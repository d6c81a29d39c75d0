"""Trains the generator between rounds, on trees.

PolicyTree (examples) ─► steps ─► packs ─► an objective (sft, grpo, tree, dpo) ─► trainer ─► new weights
"""
