#!/usr/bin/env bash
# The Slurm test bed: a small cluster of real parts, each machine a container.
#
#   infra/slurm/bed.sh up       controller (slurmctld, slurmdbd, MariaDB, slurmrestd), login node (sshd), two compute nodes (slurmd, Apptainer)
#   infra/slurm/bed.sh down     all of it away, its scratch too
#   infra/slurm/bed.sh status   the machines, and what the scheduler says of its nodes
#
# What a client needs lies in $STATE: `id_ed25519` (the key of user `lab`), `known_hosts`, and `bed.env` (addresses).
# The scratch is a volume of the cluster's own; nothing of it is shared with this machine.
. "$(dirname "$0")/../lib.sh"

BED="${LIVINGLAB_SLURM_BED:-livinglab-slurm}" # the machines' names begin with it: another name is another bed
STATE="$CACHE/$BED"
# Compute nodes of two beds must not share a name: their jobs' control groups are called by it.
NODES=c
if [ "$BED" != livinglab-slurm ]; then NODES="n$(printf '%s' "$BED" | cksum | cut -d' ' -f1)-"; fi
HERE="$ROOT/infra/slurm"
SUITE=sid # the one suite of Debian that has Slurm and Apptainer
PACKAGES=slurm-wlm,slurmdbd,slurmrestd,slurm-wlm-jwt-plugin,slurm-wlm-mysql-plugin,munge,mariadb-server,apptainer,squashfuse,fuse2fs,openssh-server,libfaketime
PACKAGES+=,systemd-standalone-sysusers,python3-minimal,procps,util-linux
# What a machine of the cluster may do that a container may not: mount; a compute node also gives jobs their control groups,
# reads what their processes use, and has devices in the place of GPUs.
GRANTS=(--cap-add SYS_ADMIN --cap-add SYS_NICE --security-opt seccomp=unconfined --security-opt apparmor=unconfined
    --security-opt systempaths=unconfined --device /dev/fuse)

root() { imported slurm-root "$SUITE $PACKAGES" "$HERE/bed.sh" archive; }

image() {
    local key="$1"
    if [ "$(image_label livinglab/slurm livinglab.content)" = "$key" ]; then return; fi
    root
    docker_build --label "livinglab.content=$key" --tag livinglab/slurm "$HERE"
}

machine() { # name, role, host name
    local grants=("${GRANTS[@]}")
    if [ "$2" = compute ]; then grants+=(--volume /sys/fs/cgroup:/sys/fs/cgroup --cap-add SYS_PTRACE --device-cgroup-rule 'c 203:* rm'); fi
    docker run --detach --name "$BED-$1" --hostname "${3:-$1}" --network "$BED" --network-alias "${3:-$1}" --env NODES="$NODES" --volume "$BED-scratch:/scratch" \
        --volume "$BED-keys:/etc/bed/keys" --label livinglab.bed="$BED" --label livinglab.content="$KEY" "${grants[@]}" livinglab/slurm \
        /usr/local/sbin/machine.sh be "$2" >/dev/null
}

on() { docker exec -i "$BED-$1" "${@:2}"; }

address() { docker inspect --format "{{(index .NetworkSettings.Networks \"$BED\").IPAddress}}" "$BED-$1"; }

# Keys of this bed alone: munge's, the tokens', the login node's own and the client's.
keys() {
    mkdir -p "$STATE"
    rm -f "$STATE"/id_ed25519* "$STATE"/host_key*
    ssh-keygen -q -t ed25519 -N '' -C lab -f "$STATE/id_ed25519"
    ssh-keygen -q -t ed25519 -N '' -C login -f "$STATE/host_key"
    docker run --rm -i --volume "$BED-keys:/keys" livinglab/slurm sh -c 'umask 077 && chmod 700 /keys && cd /keys && head -c 128 /dev/urandom >munge && head -c 32 /dev/urandom >jwt && tar -x' \
        < <(tar -C "$STATE" -c host_key id_ed25519.pub)
    rm -f "$STATE/host_key"
}

running() { [ "$(docker ps --quiet --filter "label=livinglab.bed=$BED" --filter "label=livinglab.content=$KEY" | wc -l)" = 4 ] && [ -s "$STATE/bed.env" ]; }

nodes_idle() { [ "$(on ctl sinfo --noheader --Node --partition lab --format '%T' | sort -u)" = idle ]; }

start() {
    down
    docker network create "$BED" >/dev/null
    docker volume create "$BED-scratch" >/dev/null
    docker volume create "$BED-keys" >/dev/null
    keys
    machine ctl ctl
    machine login login
    machine c1 compute "${NODES}1"
    machine c2 compute "${NODES}2"
    until_true 60 on ctl test -e /run/ready || { docker logs "$BED-ctl" >&2; die "the controller of the test bed did not start."; }
    on ctl machine.sh accounts
    printf '%s %s\n' "$(address login)" "$(cut -d' ' -f1,2 <"$STATE/host_key.pub")" >"$STATE/known_hosts"
    until_true 60 nodes_idle || { on ctl sinfo -N -l >&2; die "the nodes of the test bed are not idle."; }
    printf 'BED=%s\nSSH_HOST=%s\nREST_URL=http://%s:6820\n' "$BED" "$(address login)" "$(address ctl)" >"$STATE/bed.env"
}

up() {
    KEY="$(hash_of "$HERE" | cut -c1-16)"
    if running; then return; fi
    engine_answers || die "the test bed needs a Docker Engine, and none answers; \`make setup\` starts one."
    step "image of the Slurm test bed" image "$KEY"
    step "Slurm test bed (controller, login node, two compute nodes)" start
}

down() {
    local left
    engine_answers || return 0 # and nothing of it is there
    left="$(docker ps --all --quiet --filter "label=livinglab.bed=$BED")"
    # shellcheck disable=SC2086 # one word each
    [ -z "$left" ] || docker rm --force --volumes $left >/dev/null
    as_root find /sys/fs/cgroup -depth -type d -path "*/slurm_${NODES}[12]*" -exec rmdir {} + 2>/dev/null || true
    docker network rm "$BED" >/dev/null 2>&1 || true
    docker volume rm "$BED-scratch" "$BED-keys" >/dev/null 2>&1 || true
    rm -f "$STATE/bed.env"
}

status() {
    docker ps --all --filter "label=livinglab.bed=$BED" --format '{{.Names}}  {{.Status}}'
    on ctl sinfo --Node --long
}

case "${1:-}" in
up | down) with_lock "$CACHE/$BED.lock" "$1" ;;
status) status ;;
archive) debian_root "$2" "$SUITE" "$PACKAGES" --customize-hook='rm -f "$1"/usr/share/mariadb/*/errmsg.sys.bak' ;;
*) die "usage: bed.sh up|down|status" ;;
esac
