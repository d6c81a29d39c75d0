"""Generates text from token ids. Only `engines.vllm` imports vLLM.

config.engine ─► build ─► base.Engine ◄── vllm         in this process, on GPUs or cores
                                      ◄── http         a completions server elsewhere
                                      ◄── synthetic    no model: a stochastic process whose true values are known
                                      ◄── scripted     no model: what a test tells it to reply

models      alias, folder, URL or Hugging Face id ─► folder with weights, tokenizer, chat template
tokens      chat messages ─► token ids ─► text         vocabulary  which token ids a model speaks
fanout      n samples at once, each as it ends         slots       at most so many at a time, by priority
stopping    where a segment ends                       entropy     from the likeliest tokens' log-probabilities
occupancy   sequences running, integrated over time    tensors     whether weights are whole and fit
chat        messages in, sampled replies out           quiet       libraries' messages go to a file
"""
