# make demo    set up, then run the demo for real: SmolLM2 on vLLM, branched trees, sandboxes, Parquet
# make test    set up, then all tests, and beside them lint
# make quick   unit tests, some two minutes
# make lint    ruff and pyright
# make fuzz    a minute of generated garbage for the wire's reader, extraction and every scorer
# make gpu-check   on a machine with a GPU: its own environment, then the check of docs/gpu-check.md
# make tools   what a tool is worth: a model trained to call Python, with it and without, a table and a tree in runs/tools
# make rounds  what rounds, pruning and each objective buy, measured on the arithmetic model: runs/rounds-benchmark

BERRY = .venv/bin/berry

.PHONY: setup demo tiny tools rounds test quick lint fuzz gpu-check clean

setup:
	@.ci/setup

demo: setup
	@$(BERRY) run configs/demo.yaml

tiny: setup
	@$(BERRY) run configs/tiny.yaml

tools: setup
	@PYTHONPATH=. .venv/bin/python -P tests/benchmarks/tool_worth.py --out runs/tools

rounds: setup
	@PYTHONPATH=. .venv/bin/python -P tests/benchmarks/rounds.py --out runs/rounds-benchmark
	@PYTHONPATH=. .venv/bin/python -P tests/benchmarks/objectives.py --out runs/rounds-benchmark/objectives

test: setup
	@.ci/test

quick: setup
	@.venv/bin/python -m pytest -m "not slow" -n 2 --dist loadscope --no-loadscope-reorder

lint: setup
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/pyright

fuzz: setup
	@BERRY_FUZZ_S=$(or $(BERRY_FUZZ_S),60) .venv/bin/python -m pytest -q tests/sandboxes/test_fuzz.py tests/verifiers/test_fuzz.py

gpu-check:
	@[ -x build/gpu-venv/bin/python ] || $(or $(PYTHON),python3) -m venv build/gpu-venv
	@build/gpu-venv/bin/python -m pip install -q -e '.[gpu,train]'
	@build/gpu-venv/bin/python tests/gpu/check.py --results build/gpu-check

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
