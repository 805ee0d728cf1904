#!/bin/sh
# Write the generated files, or with --check say which one has drifted.
set -eu
cd "$(dirname "$0")/.."
bin=.venv/bin
status=0

generate() { # generate FILE COMMAND...
    file=$1
    shift
    "$@" >"$file.new"
    if [ "$mode" = --check ]; then
        cmp -s "$file" "$file.new" || { echo "$file has drifted; type: make generated" >&2; status=1; }
        rm "$file.new"
    else
        mv "$file.new" "$file"
    fi
}

mode=${1:-}
generate recipes/schema.json $bin/trtkit recipes schema
generate docs/cli.md $bin/python scripts/cli_reference.py
exit $status
