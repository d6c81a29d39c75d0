# make demo    set up, then run the demo for real: SmolLM2 on vLLM, branched trees, sandboxes, Parquet
# make test    set up, then all tests
# make quick   unit tests, under two minutes
# make lint    ruff and pyright

BERRY = .venv/bin/berry

.PHONY: setup demo tiny test quick lint clean

setup:
	@.ci/setup

demo: setup
	@$(BERRY) run configs/demo.yaml

tiny: setup
	@$(BERRY) run configs/tiny.yaml

test: setup lint
	@.venv/bin/python -m pytest -m "not slow" -n 2 --reruns 2
	@.venv/bin/python -m pytest -m slow -n 2 --dist loadfile --reruns 2 --durations=25

quick: setup
	@.venv/bin/python -m pytest -m "not slow" -n 2

lint: setup
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/pyright

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
