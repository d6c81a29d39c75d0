"""Holds the value models, which say with what probability a prefix of a response ends well. A PRM is asked at steps, an
ORM at the end.

    training    labelled paths ─► samples ─► trained model, blend, evaluation
    model       the network, its folder on disk (weights and card), what it reads, the blend with log-probabilities
    serving     (prompt ids, response ids) ─► batches ─► values, with prefixes kept between calls

Beside `pipeline.engines` the only importer of torch and transformers.
"""
