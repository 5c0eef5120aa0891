#!/bin/sh
# Run the fast tests with the interpreter $1. What takes time is compiling, on one core:
# so the studies and the library are tested by a process each, the report of the studies
# following that of the library. With more arguments: one process, which gets them.
set -u

python=$1
shift
if [ $# -gt 0 ]; then
    exec "$python" -m pytest -m "not slow" "$@"
fi

report=$(mktemp)
"$python" -m pytest -m "not slow" tests/experiments experiments >"$report" 2>&1 &
studies=$!
trap 'rm -f "$report"' EXIT
trap 'kill "$studies" 2>/dev/null; exit 130' INT TERM

"$python" -m pytest -m "not slow" --ignore tests/experiments jaxdl tests
library_code=$?
wait "$studies"
studies_code=$?
cat "$report"
[ "$library_code" -eq 0 ] && [ "$studies_code" -eq 0 ]
