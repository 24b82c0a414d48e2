#!/usr/bin/env bash
# The programs of a Kubernetes server, built once from Debian's source without a network, and kept: prints the folder that has them
# (`build.sh where`: that will have them).
# A build that is cut off leaves what it has compiled so far, for the next one, and nothing that could be taken for a result.
. "$(dirname "$0")/../lib.sh"

VERSION="1.20.5+really1.20.2-1.1+deb12u1" # of Debian's source package: the newest of the suite that has a server in it
SUITE=bookworm
PROGRAMS=(kube-apiserver kube-controller-manager kube-scheduler kubelet)
PACKAGES=golang-1.19-go,dpkg-dev,make,rsync,patch,xz-utils,procps
TARGET="$CACHE/kubernetes-$VERSION"
ARCHIVE="$CACHE/kubernetes-build-$VERSION.tar"
NAME=livinglab-kubernetes-build
SELF="$ROOT/infra/kubernetes/build.sh"

# A root with the compiler and the source, whose digests apt has held against the archive's signed index.
make_root() { # archive
    debian_root "$1" "$SUITE" "$PACKAGES" \
        --customize-hook="mkdir \"\$1/src\" && cd \"\$1/src\" && APT_CONFIG=\"\$MMDEBSTRAP_APT_CONFIG\" apt-get source --download-only kubernetes='$VERSION'"
}

# Inside the root. All programs without cgo: what they share is compiled once.
compile() { # programs…
    export GOPATH=/go GO111MODULE=off GOCACHE=/cache GOGC=400 CGO_ENABLED=0 PATH="/usr/lib/go-1.19/bin:$PATH"
    mkdir -p /go/src/k8s.io
    dpkg-source --no-check -x /src/kubernetes_*.dsc /go/src/k8s.io/kubernetes
    cd /go/src/k8s.io/kubernetes || return
    make WHAT="$(printf 'cmd/%s ' "$@")" GOFLAGS=-v GOLDFLAGS="-s -w" KUBE_STATIC_OVERRIDES=kubelet KUBE_GIT_TREE_STATE=archive KUBE_GIT_COMMIT=debian KUBE_GIT_VERSION=v1.20.2
    mkdir /out
    (cd _output/local/go/bin && cp "$@" /out)
}

# One line per 200 of the packages that the compiler names.
progress() { awk '/^[a-z0-9.-]+\/[^ ]*$/ && ++n % 200 == 0 { print "livinglab: Kubernetes: " n " of about 2,200 packages compiled"; fflush() }'; }

build() {
    local log="$RUN/log/kubernetes-build.log" begun="$EPOCHREALTIME"
    if [ -d "$TARGET" ]; then return; fi
    engine_answers || die "Kubernetes is built in a container, and no Docker Engine answers; \`make setup\` starts one."
    say "Kubernetes $VERSION is built from Debian's source, once: about 7 minutes on two cores that have nothing else to do; its log is $log"
    mkdir -p "$RUN/log"
    if [ ! -s "$ARCHIVE" ]; then step "compiler and source" as_root env LIVINGLAB_CACHE="$CACHE" "$SELF" archive "$ARCHIVE"; fi
    if [ "$(image_label "$NAME" livinglab.content)" != "$VERSION" ]; then docker import --change "LABEL livinglab.content=$VERSION" "$ARCHIVE" "$NAME" >/dev/null; fi
    docker rm --force "$NAME" >/dev/null 2>&1 || true # of a build that was cut off
    docker create --name "$NAME" --network none --cpu-shares 512 --volume "$NAME:/cache" "$NAME" bash -euc "$(declare -f compile); compile ${PROGRAMS[*]}" >/dev/null
    trap 'docker rm --force "$NAME" >/dev/null 2>&1' EXIT
    docker start --attach "$NAME" 2>&1 | tee "$log" | progress >&2 || { tail -n 40 "$log" >&2; die "Kubernetes was not built."; }
    rm -rf "$TARGET.new"
    docker cp "$NAME:/out" "$TARGET.new"
    mv "$TARGET.new" "$TARGET"
    docker rm --force "$NAME" >/dev/null
    docker volume rm "$NAME" >/dev/null
    docker image rm "$NAME" >/dev/null
    rm -f "$ARCHIVE"
    say "Kubernetes: built in $(seconds_since "$begun") s"
}

case "${1:-}" in
archive) make_root "$2" ;;
where) printf '%s\n' "$TARGET" ;;
"")
    with_lock "$CACHE/kubernetes-build.lock" build
    printf '%s\n' "$TARGET"
    ;;
*) die "usage: build.sh [where]" ;;
esac
