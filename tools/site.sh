#!/usr/bin/env bash
# site.sh FOLDER [BUILDER]: builds the book into FOLDER/_build/html with warnings as errors, from nothing, since a second
# build over the first can pass over a warning. SLMKIT_PROFILE says which lab runs the pages show. BUILDER is Sphinx's,
# html; with singlehtml the book becomes one page, for the PDF.
set -euo pipefail
folder=$1 builder=${2:-html}
echo "== site, $folder/_build/$builder"
rm -rf "$folder/_build/"{"$builder",.doctrees,jupyter_execute,.jupyter_cache}
mkdir -p build/logs
book='from jupyter_book.cli.main import main; main()'
bash tools/wheel.sh # for those who download a lab
if .venv/bin/python -c "$book" build . --path-output "$folder" --builder "$builder" -W -n --keep-going >build/logs/site.log 2>&1; then
  cp build/dist/slmkit-*.whl "$folder/_build/$builder/labs/"
  echo "== site done: $folder/_build/$builder/index.html"
else
  grep -aE -A4 'WARNING|ERROR|Error' build/logs/site.log >&2 || tail -n 30 build/logs/site.log >&2
  echo "the site has warnings, which are errors here; the whole log is build/logs/site.log" >&2
  exit 1
fi
