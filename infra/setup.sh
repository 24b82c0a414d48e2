#!/usr/bin/env bash
# setup.sh — everything that a bare Debian machine lacks, once; afterwards a fraction of a second.
#   system packages · uv · .venv from locks/lab.txt · .venvs/mlflow from locks/mlflow.txt · the launcher · Docker · base image
. "$(dirname "$0")/lib.sh"

# What is missing of: tool → the package that has it.
missing_packages() {
    local tool package
    while read -r tool package; do command -v "$tool" >/dev/null || echo "$package"; done <<'LIST'
python3 python3
gcc gcc
musl-gcc musl-tools
mmdebstrap mmdebstrap
flock util-linux
curl curl
ssh openssh-client
shellcheck shellcheck
git git
runsc runsc
chromium chromium
LIST
    python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
    ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || echo postgresql
    if ! docker compose version >/dev/null 2>&1 && ! command -v docker-compose >/dev/null; then echo docker-compose; fi
    if ! command -v docker >/dev/null || { ! engine_answers && ! command -v dockerd >/dev/null; }; then echo docker.io iptables; fi
}

# An existing cluster is nobody's business here, and a new one is not wanted: the tests start private servers of their own.
install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    if ! [ -e /etc/postgresql-common/createcluster.conf ] && [[ " $* " == *" postgresql "* ]]; then
        as_root mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    as_root apt-get -o DPkg::Lock::Timeout=120 update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold install -y -qq --no-install-recommends "$@"
}

install_uv() {
    python3 -m venv "$ROOT/.cache/uv"
    "$ROOT/.cache/uv/bin/pip" install --quiet uv
}

# What an environment's stamp must be: it depends on its lock and, for ours, on what pyproject.toml installs.
stamp_of() {
    if [ "$1" = .venv ]; then hash_of "$ROOT/locks/lab.txt" "$ROOT/pyproject.toml"; else hash_of "$ROOT/locks/mlflow.txt"; fi
}

up_to_date() { [ -x "$ROOT/$1/bin/python" ] && [ "$(cat "$ROOT/$1/.stamp" 2>/dev/null)" = "$(stamp_of "$1")" ]; }

# environment FOLDER LOCK — an environment that holds exactly what the lock says.
environment() {
    local folder="$ROOT/$1" lock="$ROOT/$2" uv
    if up_to_date "$1"; then return; fi
    uv="$(find_uv)"
    follow_pip
    rm -f "$folder/.stamp"
    if ! "$folder/bin/python" -c '' 2>/dev/null; then "$uv" venv --quiet --clear --no-project --python '>=3.11,<3.14' "$folder"; fi
    "$uv" pip sync --quiet --python "$folder" --require-hashes "$lock"
    if [ "$1" = .venv ]; then
        "$uv" pip install --quiet --python "$folder" --no-deps --editable "$ROOT"
        "$ROOT/infra/images/headless.sh" "$folder"/lib/python3.*/site-packages
    fi
    stamp_of "$1" >"$folder/.stamp"
}

setup() {
    local missing pid waits=()
    mapfile -t missing < <(missing_packages | tr ' ' '\n')
    if [ "${#missing[@]}" != 0 ]; then step "system packages (${missing[*]})" install_packages "${missing[@]}"; fi
    if ! find_uv >/dev/null || ! [ -x "$(find_uv)" ]; then step "uv" install_uv; fi
    if ! up_to_date .venv; then
        step "environment of the lab" environment .venv locks/lab.txt &
        waits+=($!)
    fi
    if ! up_to_date .venvs/mlflow; then
        step "environment of MLflow" environment .venvs/mlflow locks/mlflow.txt &
        waits+=($!)
    fi
    "$ROOT/infra/launcher/build.sh" >&2 &
    waits+=($!)
    { "$ROOT/infra/engine.sh" up && "$ROOT/infra/images/base.sh"; } &
    waits+=($!)
    for pid in "${waits[@]}"; do wait "$pid" || failed=1; done
    [ -z "${failed:-}" ] || die "setup is not complete; what failed is above."
}

begun="$EPOCHREALTIME"
with_lock "$RUN/setup.lock" setup
say "set up, in $(seconds_since "$begun") s"
