#!/usr/bin/env bash
# Builds slmkit as a wheel, build/dist/slmkit-*.whl, from the tracked files as they are. They are copied first, because
# setuptools leaves its own folders where it builds. The same commit gives the same bytes. Runs from the clone's root.
set -euo pipefail
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
copy=build/wheel
rm -rf "$copy"
mkdir -p "$copy" build/dist
git ls-files -z slmkit pyproject.toml README.md LICENSE LICENSE-PROSE | xargs -0 cp --parents -t "$copy"
rm -f build/dist/slmkit-*.whl
.venv/bin/python -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation -w build/dist "./$copy"
echo "== wheel: $(ls build/dist/slmkit-*.whl)"
