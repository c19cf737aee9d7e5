# Every target that needs the environment sets it up first; that does nothing if .venv matches the lock files.
IS_NEW_ENOUGH = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
ifndef PYTHON
PYTHON := $(shell for name in python3.11 python3.12 python3.13 python3; do \
	$$name -c '$(IS_NEW_ENOUGH)' 2>/dev/null && echo $$name && break; done || echo python3)
endif
# Give LOCK=gpu once on a machine with NVIDIA GPUs; .venv remembers it.
SETUP = $(PYTHON) launch/machine/setup_environment.py $(if $(LOCK),--lock $(LOCK))

.DEFAULT_GOAL := help
.PHONY: help setup demo base claims test processors slow browser chaos lint bench gpu clean

help:  ## list the targets
	@echo "sr-real trains spatial vision-language models by reinforcement. Start with: make demo"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name text; do printf '%-17s %s\n' "$$name" "$$text"; done

setup:  ## create .venv from requirements/cpu.lock (LOCK=gpu: for NVIDIA GPUs), about 3 minutes, once
	@$(SETUP)

demo: setup  ## scenes, cold start, RL, evaluation before and after, on two CPU cores in 15 minutes; results in runs/demo/
	.venv/bin/sr-real demo

base: setup  ## pretrain the demo's base model on perception only; takes hours, continues where it was stopped
	.venv/bin/sr-real base

claims: setup  ## test the paper's four claims with three seeds, about four hours; finished runs are kept
	.venv/bin/python -m experiments.claims

test: setup  ## all tests except those of slow, browser and chaos; a single one: .venv/bin/pytest tests/launch/machine/test_doctor.py -k memory
	.venv/bin/python -m pytest

slow: setup  ## tests that take minutes and that no other target runs: submitted jobs, a stopped cold start, the base, two models compared, rewriting by a vLLM server
	.venv/bin/python -m pytest -m "slow and not browser" --ignore=tests/cluster

browser: setup  ## test the page in a browser (needs Chromium), for ended runs and a live one
	.venv/bin/python -m pytest -m browser tests/dashboard

chaos: setup  ## kill, stop, scale and disconnect parts of a live run, and print how long each recovery took
	.venv/bin/python -m pytest -m "" tests/cluster

processors: setup  ## tests that compare weights, with the rounding of two older processors
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2 .venv/bin/python -m pytest -m rounding tests/learner
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 .venv/bin/python -m pytest -m rounding tests/learner

lint: setup  ## ruff check, ruff format, mypy
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: setup  ## measure the speed of renderer, rewards, coordinator, rollout worker (against raw vLLM), push, images of an update, asynchronous steps, page, data
	.venv/bin/python -m benchmarks.render
	.venv/bin/python -m benchmarks.rewards
	.venv/bin/python -m benchmarks.coordinator --trajectories 200000
	.venv/bin/python -m benchmarks.rollout
	.venv/bin/python -m benchmarks.push
	.venv/bin/python -m benchmarks.images
	.venv/bin/python -m benchmarks.async
	.venv/bin/python -m benchmarks.dashboard
	.venv/bin/python -m benchmarks.data --samples 1000000

gpu: setup  ## on a machine with a GPU: tests of what only a card can show, then eight minutes of measuring; figures in runs/gpu/gpu.jsonl
	.venv/bin/python -m pytest -m gpu
	.venv/bin/python -m benchmarks.gpu --out runs/gpu --seconds 480

clean:  ## remove caches and build files; keep .venv and runs/
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
