#!/bin/bash
# Shows that BUILD holds: `bazel test //...` on a copy of the tree, offline, with Debian's Bazel 4
# (apt-get install bazel-bootstrap) and stand-ins for the repositories that BUILD loads from.
# Each test file runs in a sandbox that holds its target's dependencies and nothing else, without
# its slow tests. PYTHON names the interpreter (default: .venv/bin/python).
set -euo pipefail
cd "$(dirname "$0")/.."

# Debian's calls itself "bazel no_version".
if ! bazel --version 2>/dev/null | grep -q -e no_version -e ' 4\.'; then
  echo "No Bazel 4 here: tests/test_build_file.py alone has compared BUILD with the imports."
  exit 0
fi

work=$(mktemp -d)
bazel=(bazel --output_user_root="$work/output")
clean_up() {
  cd "$work/main" && "${bazel[@]}" shutdown 2>/dev/null || true
  chmod -R u+w "$work"
  rm -rf "$work"
}
trap clean_up EXIT

stand_in() { # name: an empty repository, told to Bazel
  mkdir -p "$work/$1"
  touch "$work/$1/WORKSPACE" "$work/$1/BUILD"
  overrides+=(--override_repository="$1=$work/$1")
}

stand_in rules_python
mkdir "$work/rules_python/python"
cp tools/bazel_stand_in.bzl "$work/rules_python/python/defs.bzl"
touch "$work/rules_python/python/BUILD"

stand_in pypi
for name in $(grep -o '@pypi//[a-z_]*' BUILD | sort -u | cut -d/ -f3); do
  mkdir "$work/pypi/$name"
  echo "filegroup(name = '$name', visibility = ['//visibility:public'])" >"$work/pypi/$name/BUILD"
done

# Every test depends on Bazel's coverage tools, which are a download.
stand_in remote_coverage_tools
echo "filegroup(name = 'coverage_report_generator', visibility = ['//visibility:public'])" \
  >"$work/remote_coverage_tools/BUILD"

mkdir "$work/main"
cp -r BUILD pyproject.toml scnn_tf pipelines tests "$work/main"
touch "$work/main/WORKSPACE"
python=$(realpath -s "${PYTHON:-.venv/bin/python}")
cd "$work/main"
"${bazel[@]}" test "${overrides[@]}" --test_env=PYTHON="$python" --test_env=HOME="$work" \
  --test_arg=-m --test_arg="not slow and not data" \
  --spawn_strategy=processwrapper-sandbox --jobs=2 --test_timeout=900 \
  --color=no --curses=no --noshow_progress --test_output=errors //... </dev/null
