"""What generates. Only this package imports vllm.

config.engine ─► build.preflight ─► build.build ─► base.Engine ◄── vllm       in this run, on GPUs or cores
                    │                                          ◄── http       a completions server elsewhere
                    │                                          ◄── synthetic  no model: a process of known truth
                    │                                          ◄── scripted   no model: what a test tells it to say
                    ├── vllm_host      environment and memory a vLLM engine needs
                    └── models         alias ─► folder with weights, tokenizer, chat template
vllm ─► tokens (text ─► ids ─► text), stopping (where a segment ends), entropy (from the top tokens),
        occupancy (how full it is over time), vllm_compat (all that differs between vLLM's releases)
"""
