#!/usr/bin/env bash
# Everything that `make test` checks. Ends with the closing line of each suite, and their sum.
set -euo pipefail
run=".venv/bin/python -m"
mkdir -p build/logs
.venv/bin/python tools/loopback.py
echo "== lint"
.venv/bin/ruff check .
.venv/bin/ruff format --check .

failed=
suite() { # NAME COMMAND…
  local name=$1
  shift
  echo "== $name"
  "$@" 2>&1 | tee "build/logs/test-$name.log" || failed="$failed $name"
}
closing() { grep -ahE '^=+ .*(passed|failed|error|skipped).* in [0-9.]+s' "build/logs/test-$1.log" | tail -n 1; }

export OMP_NUM_THREADS=1
suite labs $run slmkit.course.build --profile smoke --nbmake
suite unit $run pytest -n 2 tests --ignore tests/site
suite site env SLMKIT_PROFILE=smoke bash -c "bash tools/site.sh _build/preview && $run pytest -n 2 tests/site"

echo "== closing lines"
for name in labs site unit; do
  printf '%-5s %s\n' "$name" "$(closing $name || echo "no result")"
done
for name in labs site unit; do closing $name || true; done | grep -oE '[0-9]+ (passed|failed|skipped|errors?)' |
  awk '{ sum[$2 == "error" ? "errors" : $2] += $1 }
       END { for (kind in sum) line = line (line ? ", " : "") sum[kind] " " kind; print "=== all: " line " ===" }' | tee build/logs/closing.txt
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
