"""Estimates a token's entropy from its top log-probabilities.

    H ≈ - Σ p_i log p_i - r log r,      r = 1 - Σ p_i,      over the tokens that were reported

The rest of the vocabulary counts as one token of probability r. This is a lower bound: what is missing is
r · H(rest), at most r · log(V - k) for a vocabulary of V and k reported tokens. With r = 0 it is exact, as it is where
top-k or top-p leave no more than k tokens. In nats, of the distribution that the log-probabilities are of
(`EngineInfo.logprobs_mode`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def estimate(chosen: npt.NDArray[np.float64], top: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Entropies in nats, shape (tokens,).

    `chosen`, shape (tokens,): log-probability of the drawn token where it is not among the top ones, else
    -inf. `top`, shape (tokens, k): log-probabilities of the k likeliest tokens.
    """
    known = np.concatenate([chosen[:, None], top], axis=1)
    p = np.exp(known)
    rest = np.clip(1.0 - p.sum(axis=1), 0.0, 1.0)
    return -(_times_log(p, known).sum(axis=1) + _times_log(rest, np.log(np.maximum(rest, 1e-300)))) + 0.0


def _times_log(p: npt.NDArray[np.float64], log_p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(p > 0, p * np.where(p > 0, log_p, 0.0), 0.0)
