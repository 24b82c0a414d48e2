#!/usr/bin/env bash
# engine.sh up|down — a Docker Engine: the one that answers, or one that is started by hand (and then stopped by `down`).
. "$(dirname "$0")/lib.sh"

PID_FILE="$RUN/dockerd.pid" # dockerd writes it itself
LOG="$RUN/log/dockerd.log"

ours() { # is the engine that we started still there?
    [ -f "$PID_FILE" ] && [ "$(cat "/proc/$(cat "$PID_FILE")/comm" 2>/dev/null)" = dockerd ] &&
        tr '\0' ' ' <"/proc/$(cat "$PID_FILE")/cmdline" | grep -qF -- "$PID_FILE"
}

# Where no init has done it: the control groups that limits are enforced with. Version 2 if it has what we need, else version 1.
mount_cgroups() {
    local root=/sys/fs/cgroup controller
    mountpoint -q "$root" && return
    as_root mount -t cgroup2 cgroup2 "$root"
    if [ "$(grep -owE 'cpu|memory|pids' "$root/cgroup.controllers" | wc -l)" = 3 ]; then return; fi
    as_root umount "$root"
    as_root mount -t tmpfs -o mode=0755 cgroup "$root"
    for controller in $(awk '!/^#/ && $4 == 1 { print $1 }' /proc/cgroups); do
        as_root mkdir -p "$root/$controller"
        as_root mount -t cgroup -o "$controller" cgroup "$root/$controller" || as_root rmdir "$root/$controller"
    done
}

# launch FLAG… — true when the engine answers, false when it ended or did not answer in time.
launch() {
    local end=$((SECONDS + 60)) started
    as_root setsid dockerd --config-file "$RUN/daemon.json" --pidfile "$PID_FILE" "$@" >"$LOG" 2>&1 </dev/null &
    started=$!
    until engine_answers; do
        kill -0 "$started" 2>/dev/null && [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
    disown "$started"
}

up() {
    local said runsc begun="$EPOCHREALTIME"
    if said="$(timeout 20 docker version --format '{{.Server.Version}}' 2>&1)"; then return; fi
    case "$said" in
    *"permission denied"*) die "a Docker Engine is there, but $(id -un) may not use it: join the group docker (adduser $(id -un) docker), or run this as root." ;;
    esac
    if [ -n "${DOCKER_HOST:-}" ]; then die "the Docker Engine at DOCKER_HOST=$DOCKER_HOST does not answer; start it, or unset DOCKER_HOST."; fi
    command -v dockerd >/dev/null || die "no Docker Engine answers and none is installed; \`make setup\` installs one (apt-get install docker.io iptables)."
    mkdir -p "$RUN/log"
    mount_cgroups
    # gVisor where it is installed: without KVM, and without a network of its own, since no container of ours has one.
    runsc="$(command -v runsc || true)"
    if [ -n "$runsc" ]; then
        printf '{"runtimes": {"runsc": {"path": "%s", "runtimeArgs": ["--platform=ptrace", "--network=none"]}}}\n' "$runsc" >"$RUN/daemon.json"
    else
        echo '{}' >"$RUN/daemon.json"
    fi
    # A kernel without the tables for Docker's bridge still serves us: our containers have no network.
    if ! launch; then
        cp "$LOG" "$LOG.with-network"
        if ! launch --bridge none --iptables=false; then
            tail -n 20 "$LOG" >&2
            die "the Docker Engine did not start; its log is $LOG."
        fi
    fi
    say "Docker Engine: none answered, so one was started in $(seconds_since "$begun") s (make down stops it)"
}

down() {
    local pid
    if ours; then
        pid="$(cat "$PID_FILE")"
        as_root kill "$pid"
        until_true 40 test ! -e "/proc/$pid" || die "the Docker Engine (process $pid) does not end; its log is $LOG."
        say "down: the Docker Engine that was started here"
    fi
    as_root_rm "$PID_FILE"
}

as_root_rm() { [ ! -e "$1" ] || rm -f "$1" 2>/dev/null || as_root rm -f "$1"; }

case "${1:-}" in
up | down) with_lock "$RUN/engine.lock" "$1" ;;
*) die "usage: engine.sh up|down" ;;
esac
