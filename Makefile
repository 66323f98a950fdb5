# cgdet: `make demo` and `make test` do all of their own set-up, once, into .venv.
SHELL := /bin/sh
.DEFAULT_GOAL := help

# Where an environment exists it keeps its Python, whichever python3 comes first on PATH today.
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)

# The demo
BAG ?=
TOPIC ?=
MODEL ?=
RATE ?=
SEED ?= 7
SECONDS ?= 20
OUT ?= build/demo

# -S: the interpreter alone, without what an environment adds to it
SETUP = @command -v "$(PYTHON)" >/dev/null || { \
	echo "cgdet set-up: $(PYTHON) is not on PATH: sudo apt install python3 python3-venv" >&2; exit 2; }; \
	"$(PYTHON)" -S tools/setup_environment.py

.PHONY: help setup setup-tests demo demo-landmarks test lint clean

help: ## this list
	@echo "make <target>:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16
	@echo "  PYTHON=python3.12  the Python that .venv is made with, 3.10 to 3.13"
	@echo "  BAG= TOPIC= MODEL= RATE= SEED= SECONDS= OUT=  settings of the demo"

setup: ## .venv with ROS 2, OpenVINO and cgdet in it (training: requirements/train.txt)
	$(SETUP)

setup-tests:
	$(SETUP) --with-tests

demo: check-given setup ## a bag of synthetic streets, or BAG=path TOPIC=/t, through the node: report, video, figures
	@BAG="$(BAG)" TOPIC="$(TOPIC)" MODEL="$(MODEL)" RATE="$(RATE)" SEED="$(SEED)" SECONDS_LONG="$(SECONDS)" \
		OUT="$(OUT)" sh tools/demo.sh

demo-landmarks: check-given setup ## drawn faces that move, through the node of landmarks: report, figures (MODEL= SEED= SECONDS=)
	@mkdir -p build/log/ros; ROS_LOG_DIR="$${ROS_LOG_DIR:-$(CURDIR)/build/log/ros}" .venv/bin/python tools/demo_landmarks.py \
		--out build/demo-landmarks --seed "$(SEED)" --seconds "$(SECONDS)" $(if $(MODEL),--model "$(MODEL)")

.PHONY: check-given
check-given:
	@for given in "BAG=$(BAG)" "MODEL=$(MODEL)"; do path="$${given#*=}"; test -z "$$path" || test -e "$$path" || { \
		echo "cgdet demo: $$given: there is no such file or folder (relative paths start at $(CURDIR))" >&2; exit 2; }; done

test: setup-tests ## lint, types, import contracts and every test
	@sh tools/check.sh all

lint: setup-tests ## lint, types and import contracts
	@sh tools/check.sh lint

clean: ## what is built, but not .venv
	rm -rf build install log .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
	find cgdet_core cgdet_ros test tools -name __pycache__ -type d -prune -exec rm -rf {} +
