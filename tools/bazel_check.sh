#!/bin/bash
# Runs `bazel test //...` on a copy of the tree, offline, with Debian's Bazel 4.2.3
# (apt-get install bazel-bootstrap) and stand-ins for the repositories that the BUILD files load
# from. Each folder of tests runs in a sandbox that holds the dependencies of its target and nothing
# else, without slow tests and those of the data folder. PYTHON names the interpreter (default:
# .venv/bin/python), TEST_PATH the PATH of the tests (default: PATH).
set -euo pipefail
cd "$(dirname "$0")/.."

# Debian's calls itself "bazel no_version".
if ! bazel --version 2>/dev/null | grep -q -e no_version -e ' 4\.'; then
  echo "Bazel 4 is not installed: the BUILD files were not run."
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

mkdir "$work/main"
cp -r BUILD MODULE.bazel pyproject.toml requirements.lock setup.py benchmarks examples pipelines scnn_tf tests tools "$work/main"
touch "$work/main/WORKSPACE"

stand_in() { # name: an empty repository that Bazel takes instead of the real one
  mkdir -p "$work/$1"
  touch "$work/$1/WORKSPACE" "$work/$1/BUILD"
  overrides+=(--override_repository="$1=$work/$1")
}

target() { # folder name: a target that holds nothing
  mkdir -p "$work/$1"
  echo "filegroup(name = '$2', visibility = ['//visibility:public'])" >"$work/$1/BUILD"
}

stand_in rules_python
mkdir "$work/rules_python/python"
cp tools/bazel_stand_in.bzl "$work/rules_python/python/defs.bzl"
touch "$work/rules_python/python/BUILD"

stand_in pypi
for name in $(grep -rhoP --include=BUILD '@pypi//\K\w+' "$work/main" | sort -u); do
  target "pypi/$name" "$name"
done

# Every test depends on Bazel's coverage tools, which are a download.
stand_in remote_coverage_tools
target remote_coverage_tools coverage_report_generator

python=$(realpath -s "${PYTHON:-.venv/bin/python}")
cd "$work/main"
"${bazel[@]}" test "${overrides[@]}" --test_env=PYTHON="$python" --test_env=HOME="$work" \
  --test_env=PATH="${TEST_PATH:-$PATH}" \
  --test_env=OMP_NUM_THREADS=1 --test_env=TF_NUM_INTRAOP_THREADS=1 \
  --test_arg=-m --test_arg="not slow and not data" \
  --spawn_strategy=processwrapper-sandbox --jobs=2 \
  --color=no --curses=no --noshow_progress --test_output=errors //... </dev/null
