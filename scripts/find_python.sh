#!/bin/sh
# Print the path of the Python to build on: the newest working one of the tested
# versions, else a newer one. "Working" means that it can make an environment.
#
#   find_python.sh            search PATH, then the folders of version managers
#   find_python.sh 3.11       the same, for that version only
#   find_python.sh /path/to/python   check that one
set -u

works() {
    "$1" - "${2:-}" <<'EOF' >/dev/null 2>&1
import sys

if sys.version_info < (3, 11):
    sys.exit("too old")
if sys.argv[1] and sys.argv[1] != f"{sys.version_info[0]}.{sys.version_info[1]}":
    sys.exit("another version")
import ctypes, ensurepip, ssl, venv, zlib  # noqa: E401, F401
EOF
}

explain() {
    cat >&2 <<'EOF'
What to install: Python 3.11 or newer with pip and venv. On Debian or Ubuntu:
    apt-get install python3 python3-venv python3-pip
or name an interpreter:  make PY=/path/to/python3.12 ...
EOF
}

versions="3.13 3.12 3.11 3.14"
case "${1:-}" in
    "") ;;
    3.[0-9]*) versions=$1 ;;
    *)
        if works "$1"; then command -v "$1"; exit 0; fi
        echo "PY=$1 is not a working Python of version 3.11 or newer" \
            "(it needs the modules venv, ensurepip, ssl, ctypes, zlib)." >&2
        explain
        exit 1
        ;;
esac

for version in $versions; do
    for candidate in \
        "$(command -v "python$version")" "$(command -v python3)" \
        "$(command -v python)" \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version"*/bin/python \
        "$HOME"/.local/share/uv/python/cpython-"$version"*/bin/python3 \
        "$HOME"/.asdf/installs/python/"$version"*/bin/python \
        "$HOME"/.local/share/mise/installs/python/"$version"*/bin/python \
        "$HOME"/miniconda3/bin/python "$HOME"/miniforge3/bin/python \
        /opt/conda/bin/python \
        /usr/local/bin/python"$version" /usr/bin/python"$version" \
        /opt/homebrew/bin/python"$version"; do
        [ -n "$candidate" ] && [ -x "$candidate" ] || continue
        if works "$candidate" "$version"; then
            echo "$candidate"
            exit 0
        fi
    done
done
echo "No working Python ${1:-of version 3.11 or newer} found on PATH or in the" \
    "folders of pyenv, uv, asdf, mise and conda." >&2
explain
exit 1
