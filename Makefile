# Run `make help` for what there is. Everything happens inside the clone: .venv, build/, _build/.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
LAB ?=
PROFILE ?= cpu
WORKERS ?= 2
run := .venv/bin/python -m
export PYTHONUNBUFFERED := 1
# What libraries would otherwise leave in the reader's home.
export MPLCONFIGDIR := $(CURDIR)/build/cache/matplotlib
export IPYTHONDIR := $(CURDIR)/build/cache/ipython
export JUPYTER_CONFIG_DIR := $(CURDIR)/build/cache/jupyter
export JUPYTER_DATA_DIR := $(CURDIR)/build/cache/jupyter
export JUPYTER_RUNTIME_DIR := $(CURDIR)/build/cache/jupyter/runtime

.PHONY: help setup engine grading book preview pdf test lab named bench assignments wheel clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):[^#]*##/  make \1\t/' | expand -t 20

setup:  ## .venv with the pinned libraries, slmkit, the engine and the pretrained model; redoes what changed
	@PYTHON="$(PYTHON)" bash tools/setup.sh

engine: setup  ## tries again to build the llama.cpp engine
	@rm -f .venv/engine.stamp
	@bash tools/setup.sh

grading: setup  ## nbgrader for `make assignments`, in an environment of its own, .venv/grading
	@bash tools/setup.sh grading

book: setup  ## runs every lab and builds the site, _build/html/index.html; warnings are errors
	@echo "== labs, cpu profile"
	@$(run) slmkit.course.build --profile cpu --workers $(WORKERS)
	@SLMKIT_PROFILE=cpu bash tools/site.sh .

preview: setup  ## the same site with the labs in their smallest size, _build/preview/_build/html/index.html
	@echo "== labs, smoke profile"
	@$(run) slmkit.course.build --profile smoke --workers $(WORKERS)
	@SLMKIT_PROFILE=smoke bash tools/site.sh _build/preview

pdf: setup  ## the whole book as one PDF, _build/book.pdf; needs Chromium
	@echo "== labs, cpu profile"
	@$(run) slmkit.course.build --profile cpu --workers $(WORKERS)
	@SLMKIT_PROFILE=cpu bash tools/site.sh _build/pdf singlehtml
	@.venv/bin/python tools/pdf.py _build/pdf/_build/singlehtml _build/book.pdf

test: setup  ## lint, unit tests, every lab in small through nbmake, checks of the site
	@bash tools/test.sh

lab: named setup  ## one lab, executed: make lab LAB=03 PROFILE=cpu
	@$(run) slmkit.course.build --profile "$(PROFILE)" --lab "$(LAB)" --workers 1 --force

named:  # before the set-up, which takes minutes
	@test -n "$(LAB)" && ls labs/$(LAB)_*.py >/dev/null 2>&1 \
	  || { echo "which lab? LAB is '$(LAB)'; give one of $$(ls labs | grep -oE '^[0-9]{2}' | paste -sd' '), such as: make lab LAB=03 PROFILE=cpu" >&2; exit 2; }

bench: setup  ## the side-by-side performance table
	@.venv/bin/slmkit bench

assignments: setup  ## every lab for an instructor and for students, in build/assignments
	@$(run) slmkit.course.assignments

wheel: setup  ## the package as a wheel, in build/dist
	@bash tools/wheel.sh

clean:  ## removes what was built (build/ with its models, and _build/), keeps .venv
	@rm -rf build _build
