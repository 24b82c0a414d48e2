#!/usr/bin/env bash
# services.sh up|down|status [NAME…] — MLflow, Prefect, the API and a worker, on loopback, with pid files and logs in .run.
#
# Without names: all four. MLFLOW_PORT, PREFECT_PORT and LIVINGLAB_API_PORT choose other ports; LIVINGLAB_HOME another state.
# `up` returns when each has answered; one that dies at its start shows the end of its log, and the exit code is 1.
# `down` returns when nothing of them is left: no process, no container, no mount.
. "$(dirname "$0")/lib.sh"

MLFLOW_PORT="${MLFLOW_PORT:-5500}" PREFECT_PORT="${PREFECT_PORT:-4250}" API_PORT="${LIVINGLAB_API_PORT:-8420}"
export LIVINGLAB_API_PORT="$API_PORT"
STATE="$LIVINGLAB_HOME"
KNOWN=(mlflow prefect api worker)
READY_WITHIN=120 # seconds: a first start imports from a cold disk and migrates a new database; 15 s were usual

command_of() { # sets `command`, and `settings` for its environment
    settings=(PREFECT_HOME="$STATE/prefect")
    case "$1" in api | worker) settings+=(LIVINGLAB_MLFLOW_URL="http://127.0.0.1:$MLFLOW_PORT" LIVINGLAB_PREFECT_URL="http://127.0.0.1:$PREFECT_PORT/api") ;; esac
    case "$1" in
    mlflow)
        # The jobs are for language models; they would be seven processes of 235 MB, and 20 s of processor time at the start.
        settings+=(MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false)
        command=("$ROOT/.venvs/mlflow/bin/mlflow" server --host 127.0.0.1 --port "$MLFLOW_PORT" --workers 1
            --backend-store-uri "sqlite:///$STATE/mlflow/mlflow.db" --serve-artifacts --artifacts-destination "$STATE/mlflow/artifacts")
        ;;
    prefect)
        # Batched: the recorder's single writes and the API's would wait for each other's SQLite lock.
        settings+=(PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE=100 PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE=100
            PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL=1
            PREFECT_UI_SERVE_BASE=/prefect # its pages stand behind the API's door, too
            PREFECT_SERVER_API_HOST=127.0.0.1 PREFECT_SERVER_API_PORT="$PREFECT_PORT") # by setting: its pages look for the API there
        command=("$ROOT/.venv/bin/prefect" server start --log-level WARNING)
        ;;
    api) command=("$ROOT/.venv/bin/livinglab" serve) ;;
    worker) command=("$ROOT/.venv/bin/livinglab" worker --site docker) ;;
    esac
}

port_of() {
    case "$1" in mlflow) echo "$MLFLOW_PORT" ;; prefect) echo "$PREFECT_PORT" ;; api) echo "$API_PORT" ;; esac
}

port_setting_of() {
    case "$1" in mlflow) echo MLFLOW_PORT ;; prefect) echo PREFECT_PORT ;; api) echo LIVINGLAB_API_PORT ;; esac
}

ready() {
    case "$1" in
    mlflow) curl -fsS --noproxy '*' -m 2 "http://127.0.0.1:$MLFLOW_PORT/health" ;;
    prefect) curl -fsS --noproxy '*' -m 2 "http://127.0.0.1:$PREFECT_PORT/api/health" ;;
    api) curl -fsS --noproxy '*' -m 2 "http://127.0.0.1:$API_PORT/healthz" ;;
    worker) grep -q 'carrying the runs' "$RUN/log/worker.log" ;;
    esac
}

alive() { # by pid and start time: a recycled pid is somebody else's
    local pid started
    read -r pid started 2>/dev/null <"$RUN/$1.pid" || return 1
    [ -n "$started" ] && [ "$(started_at "$pid")" = "$started" ] # no start time: it had ended before it could be asked
}

started_at() { # the start time of a living process, in ticks; nothing for a zombie or none (a name may hold spaces)
    local stat fields
    stat="$(cat "/proc/$1/stat" 2>/dev/null)" || return 0
    read -ra fields <<<"${stat##*) }"
    if [ "${fields[0]}" != Z ]; then echo "${fields[19]}"; fi
}

code_of() { # what a service of ours runs; one that runs other code than is here now is started anew
    case "$1" in api | worker) hash_of "$ROOT/livinglab" "$ROOT/flows" "$ROOT/sandbox_api" "$ROOT/locks" ;; esac
}

start() {
    local port command settings pid
    if alive "$1"; then
        if [ "$(code_of "$1")" = "$(cat "$RUN/$1.code" 2>/dev/null)" ]; then return; fi
        say "$1: the code has changed since it was started, so it is started anew"
        stop "$1"
    fi
    port="$(port_of "$1")"
    if [ -n "$port" ] && (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        say "$1: port $port is taken by something that was not started here; stop it, or set $(port_setting_of "$1") to a free port."
        return 1
    fi
    command_of "$1"
    [ -x "${command[0]}" ] || die "$1: ${command[0]} is not there; run \`make setup\` first."
    mkdir -p "$RUN/log" "$STATE/mlflow" "$STATE/prefect"
    env "${settings[@]}" setsid "${command[@]}" >"$RUN/log/$1.log" 2>&1 </dev/null &
    pid=$!
    echo "$pid $(started_at "$pid")" >"$RUN/$1.pid"
    code_of "$1" >"$RUN/$1.code"
}

await() {
    local end=$((SECONDS + READY_WITHIN))
    until ready "$1" >/dev/null 2>&1 && alive "$1"; do
        if ! alive "$1" || [ "$SECONDS" -ge "$end" ]; then
            say "$1 did not get ready; the end of its log ($RUN/log/$1.log):"
            tail -n 20 "$RUN/log/$1.log" >&2
            return 1
        fi
        sleep 0.1
    done
}

group_ended() { ! kill -0 -- "-$1" 2>/dev/null; }

stop() { # the whole process group: each service leads one (setsid)
    local pid
    if alive "$1"; then
        read -r pid _ <"$RUN/$1.pid"
        kill -TERM "$pid" 2>/dev/null || true # the leader first, so that it can end its own in order
        until_true 20 test ! -e "/proc/$pid" || say "$1 did not end within 20 s of being asked; it is killed"
        kill -TERM -- "-$pid" 2>/dev/null || true
        until_true 5 group_ended "$pid" || kill -KILL -- "-$pid" 2>/dev/null || true
        until_true 5 group_ended "$pid" || die "$1: processes of group $pid are left over."
    fi
    rm -f "$RUN/$1.pid" "$RUN/$1.code"
}

leftovers() { # this lab's containers, and what is mounted under its state
    local instance mount home
    home="$(realpath -m "$STATE")"
    instance="$(printf '%s' "$home" | sha256sum | cut -c1-8)"
    { docker ps -aq --filter "label=livinglab.instance=$instance" 2>/dev/null || true; } | xargs -r docker rm -f >/dev/null
    awk -v home="$home/" 'index($2, home) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do
        as_root umount "$(printf '%b' "$mount")"
    done
}

up() {
    local name begun="$EPOCHREALTIME" failed=()
    for name in "$@"; do start "$name" || failed+=("$name"); done
    for name in "$@"; do [[ " ${failed[*]} " == *" $name "* ]] || await "$name" || failed+=("$name"); done
    if [ "${#failed[@]}" != 0 ]; then die "not up: ${failed[*]}"; fi
    say "up after $(seconds_since "$begun") s: $*"
}

down() {
    local name stopping=()
    if [[ " $* " == *" worker "* ]]; then # before what it talks to
        stop worker
        leftovers
    fi
    for name in "$@"; do
        stop "$name" &
        stopping+=($!)
    done
    for name in "${stopping[@]}"; do wait "$name"; done
    say "down: $*"
}

status() {
    local name
    for name in "$@"; do if alive "$name"; then echo "$name: up"; else echo "$name: down"; fi; done
}

verb="${1:-}"
case "$verb" in up | down | status) shift ;; *) die "usage: services.sh up|down|status [NAME…]; the names are ${KNOWN[*]}" ;; esac
for name in "$@"; do [[ " ${KNOWN[*]} " == *" $name "* ]] || die "service '$name' is not known; the names are ${KNOWN[*]}"; done
[ $# != 0 ] || set -- "${KNOWN[@]}"
with_lock "$RUN/services.lock" "$verb" "$@"
