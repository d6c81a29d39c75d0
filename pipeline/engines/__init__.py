"""What generates. Only this package imports vllm.

config.engine ─► build.preflight ─► build.build ─► base.Engine ◄── vllm       in this run, on GPUs or cores
                    │                                          ◄── http       a completions server elsewhere
                    │                                          ◄── synthetic  no model: a process of known truth
                    │                                          ◄── scripted   no model: what a test tells it to say
                    ├── vllm_host   environment, memory and engine arguments of vLLM
                    └── models      alias ─► folder with weights, tokenizer, chat template

vllm ─► vllm_samples (parameters in, numbers out), vllm_worker (inside its processes), quiet (off the terminal),
        vllm_compat (all that differs between vLLM's releases)           http ─► http_protocol, slots
both ─► tokens (text ─► ids ─► text), fanout (n samples, each as it ends), stopping (where a segment ends),
        entropy (from the top tokens), occupancy (how full it is over time)
vllm_pooling: value models on vLLM, for `berry.pipeline.rewards`
"""
