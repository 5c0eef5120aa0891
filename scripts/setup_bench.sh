#!/bin/sh
# Make the environments of the benchmarks' peers: .venv-bench-NAME with the versions of
# benchmarks/constraints-NAME.txt. Does nothing for one that has been made from the
# same list. $1 is an interpreter or version (empty: for each what its list names; a list
# that works with one version only says so, and then $1 does not count).
set -eu

for list in benchmarks/constraints-*.txt; do
    name=${list#benchmarks/constraints-}
    name=${name%.txt}
    venv=.venv-bench-$name
    stamp=$venv/.setup-done
    only=$(sed -n 's/^# Only Python //p' "$list")
    version=${only:-${1:-$(sed -n 's/^# Python //p' "$list")}}
    inputs="$(cksum <"$list") python=$version"
    if [ -x "$venv/bin/python" ] && [ -f "$stamp" ] &&
        [ "$(cat "$stamp")" = "$inputs" ]; then
        continue
    fi
    if ! python=$(sh scripts/find_python.sh "$version"); then
        echo "The benchmark runs without $venv: its peers are then absent." >&2
        continue
    fi
    echo "Setting up $venv for the benchmarks (once; takes a few minutes) ..." >&2
    rm -rf "$venv"
    "$python" -m venv "$venv"
    if ! "$venv/bin/python" -m pip --disable-pip-version-check install --quiet \
        --requirement "$list"; then
        echo "Set-up of $venv failed; the message above says where. It needs a Python" \
            "package index that pip can reach and a few GB of disk: name one with" \
            "CPU builds of PyTorch in PIP_EXTRA_INDEX_URL to keep it small. The" \
            "benchmark runs without it: its peers are then reported as absent." >&2
        continue
    fi
    echo "$inputs" >"$stamp"
done
