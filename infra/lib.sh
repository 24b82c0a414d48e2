# What every script here shares. Sourced, never run: `. "$(dirname "$0")/lib.sh"` (bash).
# shellcheck shell=bash

set -euo pipefail
shopt -s inherit_errexit # a failure inside $(…) is a failure
umask 022

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
CACHE="${LIVINGLAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/livinglab}" # outside of the checkout: survives `git clean`, shared by clones
RUN="$ROOT/.run"                                                     # pid files and logs of what this checkout started
export LIVINGLAB_HOME="${LIVINGLAB_HOME:-$HOME/.livinglab}"

# Nothing that we start phones home.
export DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false MLFLOW_DISABLE_TELEMETRY=true

# What Python has compiled is kept in environments of our own: without it every process would compile thousands of files before it begins.
unset PYTHONDONTWRITEBYTECODE

say() { printf '%s\n' "livinglab: $*" >&2; }

die() {
    printf '%s\n' "livinglab: $*" >&2
    exit 1
}

# as_root COMMAND… — run it as root: directly, or through sudo without ever asking for a password.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n -- "$@"
    else
        die "this needs root: $*. Run it as root, or allow sudo without a password, or install it yourself and start again."
    fi
}

# seconds_since START — START as $EPOCHREALTIME gave it; prints e.g. 3.2.
seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }

# step NAME COMMAND… — one line with its time; the command's output is kept in a log, shown only when it fails.
step() {
    local name="$1" start="$EPOCHREALTIME" log status
    shift
    mkdir -p "$RUN/log"
    log="$RUN/log/step-$(printf '%s' "$name" | tr -c 'a-zA-Z0-9' '-').log"
    # Not as an `if`: inside a condition, `set -e` would not hold.
    set +e
    (
        set -e
        "$@"
    ) >"$log" 2>&1
    status=$?
    set -e
    if [ "$status" = 0 ]; then
        say "$name: done in $(seconds_since "$start") s"
    else
        say "$name: FAILED after $(seconds_since "$start") s; the end of $log:"
        tail -n 40 "$log" >&2
    fi
    return "$status"
}

# hash_of FILE_OR_FOLDER… — one sha256 over names, executable bits and contents; folders are walked, caches left out.
hash_of() {
    local path
    for path in "$@"; do
        if [ -d "$path" ]; then
            (
                cd "$path"
                ours=(. \( -name __pycache__ -o -name '.*_cache' \) -prune -o -type f ! -name '*.pyc')
                find "${ours[@]}" -perm -u+x -printf 'x %P\n'
                find "${ours[@]}" -print0 | xargs -0r sha256sum
            )
        else
            sha256sum <"$path"
        fi
    done | LC_ALL=C sort | sha256sum | cut -d' ' -f1
}

# with_lock FILE COMMAND… — one process at a time; the lock goes when the process does.
with_lock() {
    local file="$1"
    shift
    mkdir -p "$(dirname "$file")"
    (
        flock 9
        (
            exec 9>&- # in a process of its own: a redirected function would keep a copy, and what it leaves running, the lock
            "$@"
        )
    ) 9>"$file"
}

# until_true SECONDS COMMAND… — ask until it is so; false when the time is over.
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

engine_answers() { timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

image_label() { docker image inspect --format "{{index .Config.Labels \"$2\"}}" "$1" 2>/dev/null; }

# The mirror of Debian that this machine itself uses.
mirror() { { cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true; } | awk '/^(deb|URIs:) / { print $2; exit }'; }

# debian_root ARCHIVE SUITE PACKAGES OPTION… — a tar of a small Debian, with what apt needs to reach the mirror from here; further options are mmdebstrap's.
debian_root() {
    local archive="$1" suite="$2" packages="$3"
    apt-config dump | grep -E '^Acquire::(http|https|Retries)' >"$archive.conf" || true
    printf 'Acquire::Check-Valid-Until "false";\nAPT::Install-Recommends "false";\nAcquire::Languages "none";\n' >>"$archive.conf"
    mmdebstrap --quiet --variant="${VARIANT:-minbase}" --include="$packages" --aptopt="$archive.conf" --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' "${@:4}" \
        --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*' \
        "$suite" "$archive.new.tar" "deb $(mirror) $suite main" "deb-src $(mirror) $suite main"
    mv "$archive.new.tar" "$archive"
    rm -f "$archive.conf"
}

# imported IMAGE CONTENTS COMMAND… — livinglab/IMAGE, from an archive that is kept in the cache; COMMAND, with the archive's path after it, makes
# that as root. CONTENTS says what it is made of: other contents are another archive. CHANGE is a line of a Dockerfile, if there is to be one.
imported() {
    local key archive
    key="$(printf '%s' "$2" | sha256sum | cut -c1-16)"
    archive="$CACHE/${1%-root}-$key.tar"
    if [ "$(image_label "livinglab/$1" livinglab.content)" = "$key" ]; then return; fi
    [ -s "$archive" ] || as_root env LIVINGLAB_CACHE="$CACHE" "${@:3}" "$archive"
    docker import --change "LABEL livinglab.content=$key" ${CHANGE:+--change "$CHANGE"} "$archive" "livinglab/$1" >/dev/null
}

# docker_build ARGUMENTS… — without network; through BuildKit where the client has it, else the classic builder (whose
# farewell is not news). What the builder says is shown when it fails.
docker_build() {
    local said builder=(env DOCKER_BUILDKIT=0 docker build)
    if docker buildx version >/dev/null 2>&1; then builder=(docker build --provenance=false); fi
    if ! said="$("${builder[@]}" --network none "$@" 2>&1)"; then
        printf '%s\n' "$said" >&2
        return 1
    fi
}

# find_uv — the uv to use: on PATH, or the one that setup.sh put aside.
find_uv() { command -v uv || printf '%s\n' "$ROOT/.cache/uv/bin/uv"; }

# uv goes where pip goes: a mirror that this machine is told to use is not passed by.
follow_pip() {
    local pip="$ROOT/.cache/uv/bin/pip" index
    [ -x "$pip" ] || pip=pip3
    if [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
        index="${PIP_INDEX_URL:-$("$pip" config get global.index-url 2>/dev/null || true)}"
        if [ -n "$index" ]; then export UV_DEFAULT_INDEX="$index"; fi
    fi
    export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1
}

# copied FOLDER TARGET — its files, linked where they can be.
copied() { cp -rl "$1" "$2" 2>/dev/null || { rm -rf "$2" && cp -r "$1" "$2"; }; }
