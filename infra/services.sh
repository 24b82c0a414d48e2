#!/usr/bin/env bash
# services.sh up|down|status [NAME…] — MLflow, Prefect, the API and a worker, on loopback, with pid files and logs in .run.
. "$(dirname "$0")/lib.sh"

MLFLOW_PORT="${MLFLOW_PORT:-5500}" PREFECT_PORT="${PREFECT_PORT:-4250}" API_PORT="${LIVINGLAB_API_PORT:-8420}"
export LIVINGLAB_API_PORT="$API_PORT"
STATE="$LIVINGLAB_HOME"

command_of() {
    case "$1" in
    mlflow) echo "$ROOT/.venvs/mlflow/bin/mlflow server --host 127.0.0.1 --port $MLFLOW_PORT --workers 1 --backend-store-uri sqlite:///$STATE/mlflow/mlflow.db --serve-artifacts --artifacts-destination $STATE/mlflow/artifacts" ;;
    prefect) echo "$ROOT/.venv/bin/prefect server start --host 127.0.0.1 --port $PREFECT_PORT --log-level WARNING" ;;
    api) echo "$ROOT/.venv/bin/livinglab serve" ;;
    worker) echo "$ROOT/.venv/bin/livinglab worker --site docker" ;;
    *) die "unknown service $1; known: mlflow prefect api worker" ;;
    esac
}

ready() {
    case "$1" in
    mlflow) curl -fsS -m 2 "http://127.0.0.1:$MLFLOW_PORT/health" ;;
    prefect) curl -fsS -m 2 "http://127.0.0.1:$PREFECT_PORT/api/health" ;;
    api) curl -fsS -m 2 "http://127.0.0.1:$API_PORT/healthz" ;;
    worker) grep -q 'carrying the runs' "$RUN/log/worker.log" ;;
    esac
}

alive() { # by pid and start time: a recycled pid is somebody else's
    local pid started
    [ -f "$RUN/$1.pid" ] || return 1
    read -r pid started <"$RUN/$1.pid"
    [ "$(cut -d' ' -f22 "/proc/$pid/stat" 2>/dev/null)" = "$started" ]
}

start() {
    alive "$1" && return
    mkdir -p "$RUN/log" "$STATE/mlflow" "$STATE/prefect"
    local environment=(PREFECT_HOME="$STATE/prefect" PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE=100
        PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE=100 PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL=1)
    [ "$1" = worker ] && environment+=(LIVINGLAB_MLFLOW_URL="http://127.0.0.1:$MLFLOW_PORT" LIVINGLAB_PREFECT_URL="http://127.0.0.1:$PREFECT_PORT/api")
    # shellcheck disable=SC2046 - commands are words without spaces in them
    env "${environment[@]}" setsid $(command_of "$1") >"$RUN/log/$1.log" 2>&1 </dev/null &
    local pid=$!
    echo "$pid $(cut -d' ' -f22 "/proc/$pid/stat")" >"$RUN/$1.pid"
}

await() {
    local end=$((SECONDS + 90))
    until ready "$1" >/dev/null 2>&1; do
        if ! alive "$1" || [ "$SECONDS" -ge "$end" ]; then
            say "$1 did not start; the end of its log ($RUN/log/$1.log):"
            tail -n 20 "$RUN/log/$1.log" >&2
            return 1
        fi
        sleep 0.1
    done
}

stop() {
    if alive "$1"; then
        local pid
        read -r pid _ <"$RUN/$1.pid"
        kill -TERM -- "-$pid" 2>/dev/null || kill -TERM "$pid" 2>/dev/null || true
        until_true 20 test ! -e "/proc/$pid" || kill -KILL -- "-$pid" 2>/dev/null || true
    fi
    rm -f "$RUN/$1.pid"
}

leftovers() { # containers and volumes of this lab
    local instance mount
    instance="$(printf '%s' "$(realpath -m "$STATE")" | sha256sum | cut -c1-8)"
    docker ps -aq --filter "label=livinglab.instance=$instance" 2>/dev/null | xargs -r docker rm -f >/dev/null
    awk -v home="$STATE/" '$1 == "livinglab" && index($2, home) == 1 {print $2}' /proc/mounts | while read -r mount; do as_root umount "$mount"; done
}

verb="${1:-}"
shift || true
names=("$@")
[ "${#names[@]}" = 0 ] && names=(mlflow prefect api worker)
case "$verb" in
up)
    begun="$EPOCHREALTIME"
    for name in "${names[@]}"; do start "$name"; done
    for name in "${names[@]}"; do await "$name"; done
    say "up after $(seconds_since "$begun") s: ${names[*]}"
    ;;
down)
    for name in worker api prefect mlflow; do [[ " ${names[*]} " == *" $name "* ]] && stop "$name"; done
    [[ " ${names[*]} " == *" worker "* ]] && leftovers
    say "down: ${names[*]}"
    ;;
status) for name in "${names[@]}"; do if alive "$name"; then echo "$name: up"; else echo "$name: down"; fi; done ;;
*) die "usage: services.sh up|down|status [NAME…]" ;;
esac
