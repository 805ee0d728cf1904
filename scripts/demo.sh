#!/bin/sh
# The main job end to end on this machine's CPU: plan, engine bundle, Triton, streamed tokens, a recorded sweep, a report.
set -eu
cd "$(dirname "$0")/.."
recipe=recipes/tiny-gpt-oss/cpu.yaml
prompt="If the file does not exist, the function"

say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
run() {
    say "$@"
    "$@"
}

run trtkit plan "$recipe" --set target.runtime=tensorrt-llm --set target.release=1.2.1 --set target.gpu=b200
run trtkit engine "$recipe"
if ! trtkit doctor --has triton; then
    trtkit doctor
    echo "This machine has no Triton from PyPI, so the engine runs without it and there is no sweep."
    run trtkit generate --local "$recipe" "$prompt" --max-tokens 48
    exit 0
fi
run trtkit repo "$recipe"
say trtkit serve "$recipe" -- trtkit generate "\"$prompt\"" --max-tokens 48
trtkit serve "$recipe" -- trtkit generate "$prompt" --max-tokens 48
run trtkit bench run "$recipe"
run trtkit bench report "$recipe"
