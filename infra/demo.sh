#!/usr/bin/env bash
# demo.sh — sets up what is missing, starts everything, and runs the demonstration.
. "$(dirname "$0")/lib.sh"
begun="$EPOCHREALTIME"
"$ROOT/infra/setup.sh"
"$ROOT/infra/services.sh" up &
services=$!
step "harness image" "$ROOT/infra/images/build.sh" harness-medicine sandboxes/medicine/harness &
harness=$!
step "pilot image" "$ROOT/infra/images/build.sh" pilot-medicine pilots/medicine &
pilot=$!
for pid in "$harness" "$pilot" "$services"; do wait "$pid"; done
"$ROOT/.venv/bin/python" "$ROOT/infra/demo.py" \
    "$("$ROOT/infra/images/build.sh" harness-medicine sandboxes/medicine/harness)" "$("$ROOT/infra/images/build.sh" pilot-medicine pilots/medicine)"
say "the whole demonstration took $(seconds_since "$begun") s"
