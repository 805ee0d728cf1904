#!/bin/sh
# Install NVIDIA's load tools beside .venv's packages, for the tests in tests/tools: load_tools.sh TOOL...
#
#   perf-analyzer  from tritonclient's wheel, 14 MB; libraries that it lacks come with the CPU Triton
#   genai-perf     a venv of its own, 0.9 GB
#   aiperf         a venv of its own, 1.2 GB
set -eu
cd "$(dirname "$0")/.."
folder=${TRTKIT_TOOLS:-.venv}
python=${PYTHON:-.venv/bin/python}

fail() {
    echo "load_tools: $1" >&2
    exit 1
}

# The package perf-analyzer is an empty placeholder; later tritonclient wheels need glibc 2.38 or lack the binary.
perf_analyzer() {
    target=$folder/tools-perf-analyzer
    [ -x "$target/perf_analyzer" ] && return
    libraries=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/nvidia_pytriton.libs
    [ -d "$libraries" ] || fail "the CPU Triton is not there; type: make setup"
    wheels=$(mktemp -d)
    trap 'rm -rf "$wheels"' EXIT
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --platform manylinux1_x86_64 --dest "$wheels" tritonclient==2.51.0
    "$python" -m zipfile -e "$wheels"/tritonclient-2.51.0-*.whl "$wheels"
    mkdir -p "$target"
    ln -sf "$libraries"/libb64-*.so.0d "$target/libb64.so.0d"
    ln -sf "$libraries"/libcudart-*.so.12* "$target/libcudart.so.12"
    cp "$wheels/tritonclient-2.51.0.data/data/bin/perf_analyzer" "$target/perf_analyzer"
    chmod +x "$target/perf_analyzer"
}

venv() { # venv TOOL VERSION
    target=$folder/tools-$1
    [ -x "$target/bin/$1" ] && return
    "$python" -m venv "$target"
    "$target/bin/python" -m pip install --quiet --disable-pip-version-check "$1==$2"
}

for tool in "$@"; do
    case $tool in
    perf-analyzer) perf_analyzer ;;
    genai-perf) venv genai-perf 0.0.16 ;;
    aiperf) venv aiperf 0.13.0 ;;
    *) fail "unknown tool $tool" ;;
    esac
done
