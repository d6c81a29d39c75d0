"""Berry: synthetic reasoning data by distributed tree search.

problems -> variants -> rollouts <-> verification, scoring -> pruning -> kept Parquet -> export, training
  stages     stages      stages        stages     stages       stages      storage        stages   rewards

core     pure: trees, policies, values, labels          (no I/O, no Ray, no torch, no clock)
stages   one step of the pipeline each                   (asyncio, no Ray)
engines  token ids in, completions out                   (the only importer of vLLM)
rewards  value models                                    (torch, transformers)
storage  shards, journal, run directories                (pyarrow)
runtime  actors, leases, balance                         (the only importer of Ray)
planning roofline, capacity, sweeps       report  pictures and pages       cli  one file a command
"""
