#!/bin/sh
# Prints a Python 3.10-3.12 that runs and can make environments: the one given, else one on PATH.
for python in ${1:-python3.11 python3.12 python3.10 python3 python}; do
  if "$python" -c 'import ensurepip, sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' \
    >/dev/null 2>&1; then
    echo "$python"
    exit 0
  fi
done
if [ "$1" ]; then
  echo "error: $1 is not a Python 3.10, 3.11 or 3.12 with ensurepip." >&2
else
  echo "error: no Python 3.10, 3.11 or 3.12 with ensurepip is on PATH (Debian and Ubuntu:" \
    "apt-get install python3-venv); or name one: make PYTHON=/path/to/python." >&2
fi
exit 1
