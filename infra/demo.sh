#!/usr/bin/env bash
# demo.sh [DOMAIN…] — sets up what is missing, starts everything, and runs the demonstration: of all domains, or of those named.
. "$(dirname "$0")/lib.sh"
begun="$EPOCHREALTIME"
"$ROOT/infra/setup.sh"
"$ROOT/infra/services.sh" up &
services=$!
mkdir -p "$RUN"
"$ROOT/infra/images/all.sh" "$@" >"$RUN/images.tsv"
wait "$services"
"$ROOT/.venv/bin/python" "$ROOT/infra/demo.py" <"$RUN/images.tsv"
say "the whole demonstration took $(seconds_since "$begun") s"
