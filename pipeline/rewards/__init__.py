"""Value models: how likely is a prefix of a response to end well. PRM and ORM are the same thing read at other places.

    examples (labelled paths) ─► collate ─► training ─► ValueModel ─► publish (safetensors, card)
                                               ├─► joining ─► fitting ─► blend (with the engine's log-probabilities)
                                               └─► evaluation ─► metrics, picture
    loading (ours, published PRMs and ORMs) ─► ValueModel ─► radix (keys and values of prefixes) ─► scoring
                                               render (what the model reads) ─┘   batching ─┘

With berry.pipeline.engines the only importer of torch and transformers.
"""
