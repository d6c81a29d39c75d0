"""Trains on trees: many sequences that share prefixes are one packed sequence, in which each token is computed once.

    sequences ─► layout.pack ─► Pack ─► attention.token_logprobs ─► a loss that weighs each token by who shares it
                 layout.pad  ─► the same sequences side by side, for models that can't read a pack

`model_check` compares the gradients of the two for the model at hand before a training trusts the first.
"""
