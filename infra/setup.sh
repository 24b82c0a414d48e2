#!/usr/bin/env bash
# setup.sh — everything that a bare Debian machine lacks, once; afterwards a fraction of a second.
#   system packages · uv · .venv from locks/lab.txt · .venvs/mlflow from locks/mlflow.txt · the launcher · Docker · base image
. "$(dirname "$0")/lib.sh"

packages() {
    local missing=() tool package
    while read -r tool package; do command -v "$tool" >/dev/null || missing+=("$package"); done <<'LIST'
python3 python3
musl-gcc musl-tools
gcc gcc
mmdebstrap mmdebstrap
flock util-linux
curl curl
git git
LIST
    python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
    ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing+=(postgresql)
    docker version >/dev/null 2>&1 || command -v dockerd >/dev/null || missing+=(docker.io iptables)
    [ "${#missing[@]}" = 0 ] && return
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get update -qq
    as_root apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

uv_() {
    command -v uv >/dev/null || [ -x "$ROOT/.cache/uv/bin/uv" ] && return
    python3 -m venv "$ROOT/.cache/uv"
    "$ROOT/.cache/uv/bin/pip" install --quiet uv
}

# environment FOLDER LOCK — an environment that holds exactly what the lock says.
environment() {
    local folder="$ROOT/$1" lock="$ROOT/$2" stamp
    stamp="$(hash_of "$lock")"
    [ "$(cat "$folder/.stamp" 2>/dev/null)" = "$stamp" ] && return
    [ -x "$folder/bin/python" ] || "$(find_uv)" venv --quiet --python 3.11 --python-preference only-system "$folder"
    "$(find_uv)" pip sync --quiet --python "$folder" --require-hashes "$lock"
    [ "$1" = .venv ] && "$(find_uv)" pip install --quiet --python "$folder" --no-deps --editable "$ROOT"
    echo "$stamp" >"$folder/.stamp"
}

step "system packages" packages
step "uv" uv_
step "launcher" "$ROOT/infra/launcher/build.sh" &
waits=($!)
step "environment of MLflow" environment .venvs/mlflow locks/mlflow.txt &
waits+=($!)
step "environment of the lab" environment .venv locks/lab.txt &
waits+=($!)
"$ROOT/infra/engine.sh" up
step "base image" "$ROOT/infra/images/base.sh" &
waits+=($!)
for pid in "${waits[@]}"; do wait "$pid"; done
