#!/usr/bin/env bash
# engine.sh up|down — a Docker Engine: the one that answers, or one that is started by hand (and then stopped by `down`).
. "$(dirname "$0")/lib.sh"
pid_file="$RUN/dockerd.pid"

up() {
    docker version >/dev/null 2>&1 && return
    say "no Docker Engine answers; starting one"
    mkdir -p "$RUN/log"
    local config="$RUN/daemon.json" runsc
    runsc="$(command -v runsc || true)"
    if [ -n "$runsc" ]; then
        printf '{"runtimes": {"runsc": {"path": "%s", "runtimeArgs": ["--platform=ptrace", "--network=none"]}}}\n' "$runsc" >"$config"
    else
        echo '{}' >"$config"
    fi
    as_root rm -f /var/run/docker.pid
    as_root setsid dockerd --config-file "$config" >"$RUN/log/dockerd.log" 2>&1 </dev/null &
    echo $! >"$pid_file"
    until_true 60 docker version || { tail -n 20 "$RUN/log/dockerd.log" >&2; die "the Docker Engine did not start; its log is $RUN/log/dockerd.log"; }
}

down() {
    [ -f "$pid_file" ] || return 0
    local pid
    pid="$(cat "$pid_file")"
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ]; then
        as_root kill "$pid"
        until_true 30 test ! -e "/proc/$pid"
    fi
    rm -f "$pid_file"
}

case "${1:-}" in up | down) "$1" ;; *) die "usage: engine.sh up|down" ;; esac
