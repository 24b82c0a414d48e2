#!/usr/bin/env bash
# The Kubernetes test bed: a small cluster of real parts, each machine a container.
#
#   infra/kubernetes/bed.sh up            control plane (etcd, API server, controllers, scheduler, a registry of images), two nodes (kubelet, containerd)
#   infra/kubernetes/bed.sh down          all of it away
#   infra/kubernetes/bed.sh status        the machines, and what the cluster says of its nodes
#   infra/kubernetes/bed.sh load ARCHIVE  images of an archive into both nodes, as if pulled
#
# What a client needs lies in $STATE: `kubeconfig` (an administrator's), `ca.crt` and `bed.env` (addresses, the registry's password).
# With LIVINGLAB_KUBECONFIG no cluster is started: the one that it names is used, and left alone.
. "$(dirname "$0")/../lib.sh"

BED="${LIVINGLAB_KUBERNETES_BED:-livinglab-kubernetes}" # the machines' names begin with it: another name is another bed
STATE="$CACHE/$BED"
HERE="$ROOT/infra/kubernetes"
SUITE=bookworm
PACKAGES=etcd-server,etcd-client,containerd,runc,containernetworking-plugins,docker-registry,kubernetes-client,iptables,iproute2,openssl,procps,whois
TOOLS=tar # and what Debian never lacks: of the image with which the lab stages and collects, which any distribution's own could be
NODES="1 2"
# What a node may do that a container may not: mount, make networks, and give pods their control groups.
GRANTS=(--cap-add SYS_ADMIN --cap-add NET_ADMIN --cap-add SYS_PTRACE --security-opt seccomp=unconfined --security-opt apparmor=unconfined
    --security-opt systempaths=unconfined --volume /sys/fs/cgroup:/sys/fs/cgroup --volume /var/lib/containerd --volume /var/lib/kubelet)

root() { imported kubernetes-root "$SUITE $PACKAGES" "$HERE/bed.sh" archive; }

tools() { CHANGE='USER 65532:65532' imported kubernetes-tools "$SUITE $TOOLS" "$HERE/bed.sh" tools; }

image() {
    local context
    tools
    if [ "$(image_label livinglab/kubernetes livinglab.content)" = "$KEY" ]; then return; fi
    root
    context="$(mktemp -d)"
    cp -r "$HERE"/{etc,machine.sh,Dockerfile} "$context"
    "$(command -v musl-gcc || command -v gcc)" -static -O2 -s -o "$context/pause" "$HERE/pause.c"
    tar -C "$context" -c pause | docker import --change 'ENTRYPOINT ["/pause"]' - livinglab.invalid/pause:1 >/dev/null
    docker save --output "$context/pause.tar" livinglab.invalid/pause:1
    docker_build --label "livinglab.content=$KEY" --tag livinglab/kubernetes "$context"
    rm -rf "$context"
}

machine() { # name, role, option…
    docker run --detach --name "$BED-$1" --hostname "$1" --network "$BED" --network-alias "$1" --env NODES="$NODES" --env GROUP="$BED-$1" \
        --volume "$PROGRAMS:/opt/kubernetes:ro" --volume "$BED-shared:/srv/shared" --label livinglab.bed="$BED" --label livinglab.content="$KEY" "${@:3}" livinglab/kubernetes \
        /usr/local/sbin/machine.sh be "$2" >/dev/null
}

on() { docker exec -i "$BED-$1" "${@:2}"; }

kubectl() { on ctl kubectl --kubeconfig=/etc/bed/keys/admin.kubeconfig "$@"; }

address() { docker inspect --format "{{(index .NetworkSettings.Networks \"$BED\").IPAddress}}" "$BED-$1"; }

running() { [ "$(docker ps --quiet --filter "label=livinglab.bed=$BED" --filter "label=livinglab.content=$KEY" | wc -l)" = 3 ] && [ -s "$STATE/bed.env" ]; }

# Ready, and with what a pod of anybody's needs.
nodes_ready() { [ "$(kubectl get nodes --no-headers | awk '{ print $2 }' | xargs)" = "Ready Ready" ] && kubectl get serviceaccount default; }

started_not() { # machine, what
    docker logs "$BED-$1" >&2
    die "the test bed did not start: $2."
}

start() {
    local number
    down
    docker network create "$BED" >/dev/null
    docker volume create "$BED-shared" >/dev/null
    machine ctl ctl --network-alias registry --tmpfs /var/lib/etcd
    for number in $NODES; do machine "n$number" node "${GRANTS[@]}"; done
    until_true 30 on ctl test -e /etc/bed/keys/complete || started_not ctl "the control plane made no keys"
    for number in $NODES; do # the kubelets start while the API server does
        on ctl machine.sh identity "n$number" | on "n$number" sh -c 'tar -C /etc/bed/keys -x && touch /etc/bed/keys/complete'
    done
    until_true 90 on ctl test -e /run/ready || started_not ctl "the control plane did not start"
    until_true 90 nodes_ready || started_not n1 "the nodes are not ready"
    umask 077
    tell
}

# What a client needs to know.
tell() {
    mkdir -p "$STATE"
    on ctl cat /etc/bed/keys/admin.kubeconfig >"$STATE/kubeconfig"
    on ctl cat /etc/bed/keys/ca.crt >"$STATE/ca.crt"
    printf 'BED=%s\nKUBECONFIG=%s\nREGISTRY_URL=https://%s:5000\nREGISTRY_PASSWORD=%s\n' "$BED" "$STATE/kubeconfig" "$(address ctl)" "$(on ctl cat /etc/bed/keys/registry.password)" >"$STATE/bed.env"
}

up() {
    if [ -n "${LIVINGLAB_KUBECONFIG:-}" ]; then
        [ -r "$LIVINGLAB_KUBECONFIG" ] || die "LIVINGLAB_KUBECONFIG is $LIVINGLAB_KUBECONFIG, which cannot be read."
        say "Kubernetes: the cluster of $LIVINGLAB_KUBECONFIG is used; none is started"
        return
    fi
    KEY="$(hash_of "$HERE" | cut -c1-16)"
    if running; then return; fi
    engine_answers || die "the test bed needs a Docker Engine, and none answers; \`make setup\` starts one."
    [ -d /sys/fs/cgroup/memory ] || die "the test bed's kubelet needs control groups of version 1, and this machine has none; name a cluster with LIVINGLAB_KUBECONFIG."
    PROGRAMS="$("$HERE/build.sh")"
    step "image of the Kubernetes test bed" image
    step "Kubernetes test bed (control plane, two nodes)" start
    say "kubectl --kubeconfig=$STATE/kubeconfig get nodes"
}

down() {
    local left
    engine_answers || return 0 # and nothing of it is there
    left="$(docker ps --all --quiet --filter "label=livinglab.bed=$BED")"
    # shellcheck disable=SC2086 # one word each
    [ -z "$left" ] || docker rm --force --volumes $left >/dev/null
    end_pods
    docker network rm "$BED" >/dev/null 2>&1 || true
    docker volume rm "$BED-shared" >/dev/null 2>&1 || true
    rm -f "$STATE/bed.env"
}

# The nodes' processes went with their machines; what is left of their pods are empty control groups.
end_pods() { as_root find /sys/fs/cgroup -depth -type d -path "*/$BED-n[12]*" -exec rmdir {} + 2>/dev/null || true; }

status() {
    docker ps --all --filter "label=livinglab.bed=$BED" --format '{{.Names}}  {{.Status}}'
    kubectl get nodes --output wide
}

load() {
    local number
    [ -r "${1:-}" ] || die "'${1:-}' is no archive that can be read; usage: bed.sh load ARCHIVE"
    for number in $NODES; do on "n$number" ctr --namespace k8s.io images import - <"$1" >/dev/null; done
}

case "${1:-}" in
up | down) with_lock "$CACHE/$BED.lock" "$1" ;;
status) status ;;
load) load "${2:-}" ;;
archive) debian_root "$2" "$SUITE" "$PACKAGES" ;;
tools) VARIANT=essential debian_root "$2" "$SUITE" "$TOOLS" ;;
*) die "usage: bed.sh up|down|status|load ARCHIVE" ;;
esac
