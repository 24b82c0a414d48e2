#!/usr/bin/env bash
# demo.sh — sets up what is missing, starts everything, and runs the demonstration.
. "$(dirname "$0")/lib.sh"
begun="$EPOCHREALTIME"
"$ROOT/infra/setup.sh"
"$ROOT/infra/services.sh" up &
services=$!
waiting=("$services")
image() { "$ROOT/infra/images/build.sh" "$@"; }
for domain in medicine fintech; do
    step "harness image ($domain)" image "harness-$domain" "sandboxes/$domain/harness" &
    waiting+=("$!")
    step "pilot image ($domain)" image "pilot-$domain" "pilots/$domain" &
    waiting+=("$!")
done
for pid in "${waiting[@]}"; do wait "$pid"; done
archives=()
for domain in medicine fintech; do
    archives+=("$(image "harness-$domain" "sandboxes/$domain/harness")" "$(image "pilot-$domain" "pilots/$domain")")
done
"$ROOT/.venv/bin/python" "$ROOT/infra/demo.py" "${archives[@]}"
say "the whole demonstration took $(seconds_since "$begun") s"
