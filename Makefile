# One line a target. RECIPE= names the recipe (by default the sample on the CPU runtime), SET= passes overrides:
#   make engine RECIPE=recipes/gpt-oss-120b/b200.yaml SET="--set target.gpu=gb200"
RECIPE ?= recipes/tiny-gpt-oss/cpu.yaml
SET ?=
BIN := .venv/bin
TRTKIT := $(BIN)/trtkit

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-oracle test-tools check generated engine repo serve bench report plan image clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: .venv/.run ## Make .venv with trtkit, the CPU Triton and the report extra

demo: .venv/.run ## Checkpoint to streamed tokens and a recorded sweep, end to end
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/demo.sh

test: .venv/.dev ## Run the test suite
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-oracle: .venv/.oracle ## Compare with transformers in FP32 (downloads torch)
	.venv/oracle/bin/python -m pytest -m oracle

test-tools: .venv/.tools ## Drive the server with genai-perf and aiperf (downloads 2 GB)
	$(BIN)/python -m pytest tests/tools -m ""

check: .venv/.dev ## Lint, types and generated files
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && sh scripts/generated.sh --check

generated: .venv/.dev ## Write the generated files anew
	sh scripts/generated.sh

plan: .venv/.run ## Show what RECIPE's target needs changed
	$(TRTKIT) plan $(RECIPE) $(SET)

engine: .venv/.run ## Build RECIPE's engine bundle
	$(TRTKIT) engine $(RECIPE) $(SET)

repo: .venv/.run ## Render RECIPE's Triton model repository
	$(TRTKIT) repo $(RECIPE) $(SET)

serve: .venv/.run ## Start Triton on RECIPE's bundle
	$(TRTKIT) serve $(RECIPE) $(SET)

bench: .venv/.run ## Run RECIPE's sweep
	$(TRTKIT) bench run $(RECIPE) $(SET)

report: .venv/.run ## Report on RECIPE's records
	$(TRTKIT) bench report $(RECIPE) $(SET)

image: .venv/.run ## Build the CPU image without a daemon, run it and kill its model
	sh scripts/build_image.sh

clean: ## Remove builds, keep .venv and records
	rm -rf build dist

.venv/.run: pyproject.toml scripts/setup.sh
	sh scripts/setup.sh run

.venv/.dev: pyproject.toml scripts/setup.sh
	sh scripts/setup.sh dev

.venv/.oracle: pyproject.toml scripts/setup.sh
	sh scripts/setup.sh oracle

.venv/.tools: .venv/.dev scripts/load_tools.sh
	sh scripts/load_tools.sh perf-analyzer genai-perf aiperf && touch $@
