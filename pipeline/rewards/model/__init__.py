"""Defines a value model and the folder that holds it.

resolve (name ─► folder) ─► card (what it was trained on) ─► loading ─► value_model
render    what the model reads of a prompt and a response
blend     the model's value joined with the engine's log-probability
publish   a trained model ─► a folder that appears whole or not at all
quiet     transformers' progress bars and advice, off
"""
