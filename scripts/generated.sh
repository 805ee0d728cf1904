#!/bin/sh
# Write the generated files, or with --check say which one has drifted.
set -eu
cd "$(dirname "$0")/.."
bin=.venv/bin
status=0
new=$(mktemp)
trap 'rm -f "$new"' EXIT

generate() { # generate FILE COMMAND...
    file=$1
    shift
    "$@" >"$new"
    if [ "$mode" = --check ]; then
        cmp -s "$file" "$new" || { echo "$file has drifted; type: make generated" >&2; status=1; }
    else
        cat "$new" >"$file"
    fi
}

mode=${1:-}
generate recipes/schema.json $bin/trtkit recipes schema
generate docs/cli.md $bin/python scripts/cli_reference.py
generate docs/reliability.md $bin/python scripts/reliability.py
generate docker/compose.yaml $bin/python scripts/compose.py
$bin/python scripts/recipes.py $mode || status=1
# the goldens of the plans are checked by the tests
[ "$mode" = --check ] || $bin/python scripts/plan_goldens.py
exit $status
