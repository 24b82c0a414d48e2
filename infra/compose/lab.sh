#!/usr/bin/env bash
# lab.sh — the whole lab on one machine, in containers: PostgreSQL, Prefect, MLflow, the API, and a worker for each site.
#
#   lab.sh up               build what is missing, start it, or bring what runs to this checkout's version; returns when all are well
#   lab.sh down [--all]     stop it (--all: and remove the database and all that was kept)
#   lab.sh status           the containers, and how they are
#   lab.sh livinglab …      a command of the operator's, in the worker: `lab.sh livinglab token issue ministry --role triage=authority`
#   lab.sh backup FILE      databases, blobs, vault and keys into one archive, while the lab runs; whoever holds it holds the lab's key
#   lab.sh restore FILE     a lab that is as the archive says, where there is none
#
# LIVINGLAB_STATE (/var/lib/livinglab) is where everything but the database lies, at the same path inside and outside: an engine is told paths.
# LIVINGLAB_PORT (8420) is the API's, on loopback. LIVINGLAB_PROJECT (livinglab) names containers; another name and state is another lab.
# Further settings of the lab's stand in $LIVINGLAB_STATE/settings.env, keys for other sites' workers under $LIVINGLAB_STATE/sites.
. "$(dirname "$0")/../lib.sh"
HERE="$ROOT/infra/compose"
export LIVINGLAB_STATE="${LIVINGLAB_STATE:-/var/lib/livinglab}" LIVINGLAB_PORT="${LIVINGLAB_PORT:-8420}"
PROJECT="${LIVINGLAB_PROJECT:-livinglab}"
SITES="$LIVINGLAB_STATE/sites.yaml"
WELL_WITHIN=300 # seconds: first starts of MLflow and Prefect migrate new databases
DATABASES=(lab prefect mlflow) # the lab's first: the others' records follow from it, and are written anew where they lag behind
KEPT=(lab/blobs lab/uploads lab/vault lab/keys mlflow settings.env sites)

COMPOSE=(docker-compose)
if docker compose version >/dev/null 2>&1; then COMPOSE=(docker compose); fi
command -v "${COMPOSE[0]}" >/dev/null || die "Docker Compose is missing: apt-get install docker-compose (make setup does it)."

# The passwords are in the environment of this process alone, which compose.yaml's names are taken from.
compose() {
    local files=(-f "$HERE/compose.yaml")
    if [ -e "$SITES" ]; then files+=(-f "$SITES"); fi
    set -a
    # shellcheck disable=SC1091
    . "$LIVINGLAB_STATE/images.env"
    # shellcheck disable=SC1091
    . "$LIVINGLAB_STATE/passwords.env"
    set +a
    "${COMPOSE[@]}" --project-name "$PROJECT" "${files[@]}" "$@"
}

password() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

root_only() { [ "$(id -u)" = 0 ] || die "this needs root: $LIVINGLAB_STATE holds the lab's key, and its worker mounts volumes there."; }

folders() {
    root_only
    install -d -m 0750 "$LIVINGLAB_STATE" "$LIVINGLAB_STATE"/{lab,lab/blobs,lab/uploads,sites}
    install -d -m 0700 -o 65532 -g 65532 "$LIVINGLAB_STATE/mlflow"
    if [ ! -e "$LIVINGLAB_STATE/settings.env" ]; then install -m 0600 /dev/null "$LIVINGLAB_STATE/settings.env"; fi
    if [ ! -s "$LIVINGLAB_STATE/passwords.env" ]; then
        (umask 077 && printf '%s_PASSWORD=%s\n' LAB "$(password)" PREFECT "$(password)" MLFLOW "$(password)" >"$LIVINGLAB_STATE/passwords.env.new")
        mv "$LIVINGLAB_STATE/passwords.env.new" "$LIVINGLAB_STATE/passwords.env"
    fi
    # A volume that the worker mounts must be seen by the engine.
    if [[ "$(findmnt --noheadings --output PROPAGATION --target "$LIVINGLAB_STATE")" != shared* ]]; then
        mount --bind "$LIVINGLAB_STATE" "$LIVINGLAB_STATE"
        mount --make-rshared "$LIVINGLAB_STATE"
    fi
}

# A worker for each site that is registered; `docker` has its own in compose.yaml.
workers() {
    local name
    printf 'services:\n'
    compose exec -T worker livinglab.sh site list --json |
        python3 -c 'import json, sys; [print(s["name"]) for s in json.load(sys.stdin) if s["name"] != "docker"]' |
        while read -r name; do
            printf '  worker-%s: {extends: {file: "%s", service: remote}, command: [worker, --site, "%s"]}\n' "$name" "$HERE/worker.yaml" "$name"
        done
}

# What the engine says of each of the lab's containers, in a form of its own. Asked every moment, so not by way of Compose.
each() {
    docker ps --all --quiet --filter "label=com.docker.compose.project=$PROJECT" | xargs -r docker inspect --format "$1"
}

all_well() { # every container that is to run has said that it is healthy
    local said
    said="$(each '{{.State.Health.Status}}')"
    [ -n "$said" ] && ! grep -qv '^healthy$' <<<"$said"
}

hopeless() { each '{{.RestartCount}}' | grep -q '^[3-9]'; } # what has ended three times does not want time

await() {
    until_true "$WELL_WITHIN" eval 'all_well || hopeless' && all_well && return
    compose ps >&2
    compose logs --tail 15 --no-color >&2
    die "not everything is well; the ends of the logs are above."
}

start() { # services; none: all
    step "starting" compose up --detach --remove-orphans "$@"
    await
}

images() {
    "$HERE/build.sh" >"$LIVINGLAB_STATE/images.env.new"
    mv "$LIVINGLAB_STATE/images.env.new" "$LIVINGLAB_STATE/images.env"
}

up() {
    local begun="$EPOCHREALTIME"
    folders
    images
    start
    workers >"$SITES.new"
    if [ "$(wc -l <"$SITES.new")" = 1 ]; then rm -f "$SITES.new" "$SITES"; else mv "$SITES.new" "$SITES"; fi
    start
    say "the lab is up after $(seconds_since "$begun") s: http://127.0.0.1:$LIVINGLAB_PORT/docs (workers: docker$(sed -n 's/^  worker-\([^:]*\):.*/, \1/p' "$SITES" 2>/dev/null | tr -d '\n'))"
}

down() {
    local mount
    [ -s "$LIVINGLAB_STATE/images.env" ] || die "there is no lab in $LIVINGLAB_STATE."
    if [ "${1:-}" = --all ]; then compose down --volumes --remove-orphans; else compose down --remove-orphans; fi
    if [ "${1:-}" != --all ]; then return; fi
    awk -v state="$LIVINGLAB_STATE" '$2 == state || index($2, state "/") == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do
        umount "$(printf '%b' "$mount")"
    done
    rm -rf "${LIVINGLAB_STATE:?}"
}

backup() { # file
    local name begun="$EPOCHREALTIME" status=0 there=()
    [ -n "${1:-}" ] || die "usage: lab.sh backup FILE"
    [ ! -e "$1" ] || die "$1 is there already; name another file."
    umask 077
    target="$(realpath "$1")" work="$(mktemp -d "$LIVINGLAB_STATE/backup.XXXXXX")" # global, for the trap
    trap 'rm -rf "$work" "$target.new"' EXIT
    for name in "${DATABASES[@]}"; do
        compose exec -T postgres pg_dump --host /tmp --username postgres --format custom "$name" >"$work/$name.dump"
    done
    (cd "$work" && sha256sum ./*.dump >SHA256SUMS)
    # After the databases: every blob that they name was there before. What changes while it is read (an upload under way) is no fault: 1 is tar's word for that.
    for name in "${KEPT[@]}"; do if [ -e "$LIVINGLAB_STATE/$name" ]; then there+=("$name"); fi; done
    tar --create --file "$target.new" --exclude lab/blobs/incoming --directory "$work" SHA256SUMS "${DATABASES[@]/%/.dump}" \
        --directory "$LIVINGLAB_STATE" "${there[@]}" || status=$?
    [ "$status" -le 1 ] || die "the archive could not be written (tar: $status)."
    sync "$target.new"
    mv "$target.new" "$target"
    say "backup: $target, $(stat -c %s "$target" | awk '{ printf "%.0f MB", $1 / 1e6 }') in $(seconds_since "$begun") s. It holds the lab's private key and the hidden data."
}

# Each blob is called by its digest: those in a folder that are not what they are called.
wrong_blobs() {
    find "$1" -type f -printf '%f  %p\n' | sha256sum --check --quiet 2>/dev/null | sed 's/: FAILED.*//' || true
}

restore() { # file
    local name wrong begun="$EPOCHREALTIME"
    [ -r "${1:-}" ] || die "usage: lab.sh restore FILE; '${1:-}' cannot be read."
    [ ! -e "$LIVINGLAB_STATE/lab" ] || die "there is a lab in $LIVINGLAB_STATE, which a backup never replaces: \`lab.sh down --all\` removes it, LIVINGLAB_STATE names another place."
    if docker volume inspect "${PROJECT}_postgres" >/dev/null 2>&1; then die "there is a database of the project $PROJECT already; LIVINGLAB_PROJECT names another."; fi
    root_only
    work="$LIVINGLAB_STATE/restoring" # global, for the trap
    trap 'rm -rf "$work"' EXIT
    install -d -m 0750 "$LIVINGLAB_STATE"
    rm -rf "$work" # of one that was cut off
    mkdir -m 0700 "$work"
    tar --extract --file "$1" --directory "$work" --same-permissions --same-owner
    (cd "$work" && sha256sum --check --quiet SHA256SUMS) || die "$1 is damaged: a database's dump is not what it was."
    wrong="$(wrong_blobs "$work/lab/blobs")"
    [ -z "$wrong" ] || die "$1 is damaged: these blobs are not what their names say: $wrong"
    folders # all is well: from here on there is a lab
    for name in "${KEPT[@]}"; do
        if [ -e "$work/$name" ]; then
            rm -rf "${LIVINGLAB_STATE:?}/$name"
            mv "$work/$name" "$LIVINGLAB_STATE/$name"
        fi
    done
    images
    start postgres
    for name in "${DATABASES[@]}"; do
        compose exec -T postgres pg_restore --host /tmp --username postgres --dbname "$name" --no-owner --role "$name" --exit-on-error --single-transaction <"$work/$name.dump"
    done
    say "restored in $(seconds_since "$begun") s; it is started now"
    up
}

case "${1:-}" in
up | down | backup | restore) with_lock "$RUN/lab-$PROJECT.lock" "$@" ;;
status) compose ps ;;
livinglab) compose exec -T worker livinglab.sh "${@:2}" ;;
*) die "usage: lab.sh up | down [--all] | status | livinglab … | backup FILE | restore FILE" ;;
esac
