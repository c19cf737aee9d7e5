# Every target that needs the environment sets it up first; that does nothing if .venv fits the lock files.
IS_NEW_ENOUGH = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
ifndef PYTHON
PYTHON := $(shell for name in python3.11 python3.12 python3.13 python3; do \
	$$name -c '$(IS_NEW_ENOUGH)' 2>/dev/null && echo $$name && break; done || echo python3)
endif
# LOCK=gpu on a machine with NVIDIA GPUs, once; .venv remembers it.
SETUP = $(PYTHON) launch/machine/setup_environment.py $(if $(LOCK),--lock $(LOCK))

.DEFAULT_GOAL := help
.PHONY: help setup demo base claims test processors slow browser chaos lint bench clean

help:  ## say what there is
	@echo "sr-real trains spatial vision-language models by reinforcement. Start with: make demo"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name text; do printf '%-17s %s\n' "$$name" "$$text"; done

setup:  ## make .venv from requirements/cpu.lock (LOCK=gpu: for NVIDIA GPUs), about 3 minutes, once
	@$(SETUP)

demo: setup  ## scenes, cold start, RL, evaluation before and after, on two CPU cores; results in runs/demo/
	.venv/bin/sr-real demo

base: setup  ## pretrain the demo's base model on perception alone, hours; goes on where it was stopped
	.venv/bin/sr-real base

claims: setup  ## the paper's four claims over three seeds, about four hours; what is done is kept and not run again
	.venv/bin/python -m experiments.claims

test: setup  ## all tests but those of slow, browser and chaos; one alone: .venv/bin/pytest tests/launch/machine/test_doctor.py -k memory
	.venv/bin/python -m pytest

slow: setup  ## tests of several minutes that no other target runs: submitted jobs, rewriting by a vLLM server
	.venv/bin/python -m pytest -m "slow and not browser" --ignore=tests/cluster

browser: setup  ## the page in a browser (needs Chromium), of runs that ended and of one under way
	.venv/bin/python -m pytest -m browser tests/dashboard

chaos: setup  ## kill, stop, scale and unplug parts of a live run, and say how long each recovery took
	.venv/bin/python -m pytest -m "" tests/cluster

processors: setup  ## tests that compare weights, computed as two older processors would: rounding must not decide
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2 .venv/bin/python -m pytest -m rounding tests/learner
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 .venv/bin/python -m pytest -m rounding tests/learner

lint: setup  ## ruff's rules, ruff's format, mypy's types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: setup  ## speed of renderer, rewards, coordinator, rollout worker (against raw vLLM), weight push, asynchronous steps, page, data
	.venv/bin/python -m benchmarks.render
	.venv/bin/python -m benchmarks.rewards
	.venv/bin/python -m benchmarks.coordinator --trajectories 200000
	.venv/bin/python -m benchmarks.rollout
	.venv/bin/python -m benchmarks.push
	.venv/bin/python -m benchmarks.async
	.venv/bin/python -m benchmarks.dashboard
	.venv/bin/python -m benchmarks.data --samples 1000000

clean:  ## remove caches and build leftovers; .venv and runs/ stay
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
