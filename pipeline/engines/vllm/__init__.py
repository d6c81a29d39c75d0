"""Runs vLLM in this process.

host      config ─► environment variables, memory checks, engine arguments
engine    Request ─► one vLLM request a sample ─► Sample          (`engines.base.Engine`)
            ├── samples   parameters in, log-probabilities and finish reasons out
            └── compat    everything that differs between vLLM's releases
pooling   token ids ─► value of the prefix                         (`rewards.serving.service.Backend`)
wire      log-probabilities ─► plain numbers between vLLM's processes
worker    what runs inside vLLM's own processes
"""
