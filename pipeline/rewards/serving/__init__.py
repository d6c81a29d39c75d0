"""Serves value models to a run.

service (score, load_weights) ─► batcher ─► scorer ─► prefix_cache (keys and values of prefixes)
                              └► engines.vllm.pooling
"""
