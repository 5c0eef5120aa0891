#!/bin/sh
# Make the environment $1 with the versions of the constraints file $2, using the
# interpreter or version $3 (empty: the newest found) and the JAX build $4 (empty:
# CPU). Does nothing if that has been done and none of its inputs has changed.
set -eu

venv=$1 constraints=$2 python=${3:-} accelerator=${4:-}
stamp=$venv/.setup-done
packages=$(sed -n "1,/^\[tool\./p" pyproject.toml)
inputs="$( (echo "$packages"; cat "$constraints" scripts/setup.sh) | cksum)"
inputs="$inputs python=$python jax=$accelerator"

if [ -x "$venv/bin/python" ] && [ -f "$stamp" ] &&
    [ "$(cat "$stamp")" = "$inputs" ] && "$venv/bin/python" -c "" 2>/dev/null; then
    exit 0
fi

python=$(sh scripts/find_python.sh "$python")
version=$("$python" -c 'import platform; print(platform.python_version())')
echo "Setting up $venv with Python $version (once; takes a few minutes) ..." >&2
rm -rf "$venv"
"$python" -m venv "$venv"

fail() {
    echo "Set-up could not install the packages; the message above says which." \
        "It needs the network (a Python package index that pip can reach)" \
        "and about 1.5 GB of disk. Run the same command again to retry." >&2
    exit 1
}
pip="$venv/bin/python -m pip --disable-pip-version-check"
# An environment that follows this repository: edits need no new set-up.
$pip install --quiet --constraint "$constraints" --editable ".[all]" || fail
if [ -n "$accelerator" ]; then
    $pip install --quiet --constraint "$constraints" "jax[$accelerator]" || fail
fi
echo "$inputs" >"$stamp"
echo "Set-up done: $("$venv/bin/python" -c 'import jax; print("JAX", jax.__version__)')" >&2
