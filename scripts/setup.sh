#!/bin/sh
# Make .venv with everything that `make demo` (run), `make test` (dev) or `make test-oracle` (oracle) needs.
set -eu

kind=$1

fail() {
    echo "setup: $1" >&2
    exit 1
}

# The CPU Triton has Python stubs up to 3.12 that work, so those versions come first.
find_python() {
    for name in ${PYTHON:-} python3.12 python3.11 python3 python3.13 python3.14; do
        if command -v "$name" >/dev/null 2>&1 && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            echo "$name"
            return
        fi
    done
    fail "no Python 3.11 or later was found; type: apt-get install python3 python3-venv"
}

# Debian and Ubuntu split ensurepip and libpython from python3.
apt_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || fail "missing $*; type: sudo apt-get install $*"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

make_venv() { # make_venv FOLDER
    [ -x "$1/bin/pip" ] && return
    python=$(find_python)
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$python" -c 'import ensurepip, venv' 2>/dev/null || apt_install "python$version-venv"
    "$python" -m venv "$1"
    "$python" - <<'PYTHON' || apt_install "libpython$version"
import ctypes, os, sys, sysconfig
name = sysconfig.get_config_var("INSTSONAME") or ""
if ".so" not in name:
    name = "libpython%d.%d.so.1.0" % sys.version_info[:2]
path = os.path.join(sysconfig.get_config_var("LIBDIR") or "", name)
try:
    ctypes.CDLL(path if os.path.exists(path) else name)
except OSError:
    sys.exit(1)
PYTHON
}

install() { # install FOLDER EXTRAS
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check -e ".[$2]"
}

case $kind in
run)
    make_venv .venv
    install .venv server,report
    ;;
dev)
    make_venv .venv
    install .venv server,report,dev
    sh scripts/load_tools.sh perf-analyzer || echo "setup: no perf_analyzer, so its test will be skipped" >&2
    touch .venv/.run
    ;;
oracle)
    make_venv .venv
    make_venv .venv/oracle
    install .venv/oracle server,oracle,dev
    ;;
*) fail "unknown kind $kind" ;;
esac
touch ".venv/.$kind"
