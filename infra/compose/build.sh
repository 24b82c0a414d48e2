#!/usr/bin/env bash
# build.sh — the images of the lab's own services, none of which is built twice; prints a line NAME=TAG for each, as compose.yaml wants them.
#
#   livinglab/lab        API, workers and Prefect's server: this checkout, with what locks/services.txt names
#   livinglab/mlflow     MLflow's server: what locks/mlflow.txt names
#   livinglab/postgres   PostgreSQL, from Debian
. "$(dirname "$0")/../lib.sh"
HERE="$ROOT/infra/compose"

root() { imported "$1" "$2" "$HERE/build.sh" archive "$2"; } # image, Debian's packages

packages() { # lock; prints the folder that holds what it names
    local folder
    folder="$CACHE/packages/services-$(hash_of "$1" "$HERE/build.sh" | cut -c1-16)"
    if [ ! -d "$folder" ]; then
        rm -rf "$folder.new"
        mkdir -p "$folder.new"
        "$(find_uv)" pip install --quiet --target "$folder.new" --link-mode copy --python-version 3.11 --python-platform "$(uname -m)-manylinux_2_28" \
            --no-deps --require-hashes --only-binary :all: -r "$1" >&2
        find "$folder.new" -type d \( -name tests -o -name test -o -name __pycache__ \) -prune -exec rm -rf {} +
        docker run --rm --network none --volume "$folder.new:/opt/lib" livinglab/python-root python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/lib >/dev/null || true
        mv "$folder.new" "$folder"
    fi
    printf '%s\n' "$folder"
}

python_image() { # name, hash, lock, and `lab` if the lab itself goes in
    local folder
    if docker image inspect "livinglab/$1:$2" >/dev/null 2>&1; then return; fi
    folder="$(mktemp -d "$CACHE/build.XXXXXX")"
    copied "$(packages "$3")" "$folder/lib"
    install -D -t "$folder/bin" "$HERE/python/healthy.py"
    if [ -n "${4:-}" ]; then
        install -t "$folder/bin" "$HERE/python/livinglab.sh" "$ROOT/infra/launcher/livinglab-launcher"
        "$(find_uv)" build --quiet --wheel --out-dir "$folder/wheel" "$ROOT" >&2
        "$(find_uv)" pip install --quiet --target "$folder/lib" --no-deps --python-version 3.11 "$folder"/wheel/*.whl >&2
        rm -rf "$folder/wheel"
    fi
    cp "$HERE/python/Dockerfile" "$folder/"
    docker_build --tag "livinglab/$1:$2" "$folder"
    rm -rf "$folder"
}

postgres_image() { # hash
    if ! docker image inspect "livinglab/postgres:$1" >/dev/null 2>&1; then docker_build --tag "livinglab/postgres:$1" "$HERE/postgres"; fi
}

build() {
    local lab mlflow postgres pid waits=() failed=
    mkdir -p "$CACHE/packages"
    follow_pip
    lab="$(hash_of "$ROOT"/{livinglab,flows,sandbox_api,pyproject.toml,locks/services.txt,infra/launcher/livinglab-launcher} "$HERE"/{build.sh,python} | cut -c1-16)"
    mlflow="$(hash_of "$ROOT/locks/mlflow.txt" "$HERE"/{build.sh,python} | cut -c1-16)"
    postgres="$(hash_of "$HERE"/{build.sh,postgres} | cut -c1-16)"
    "$ROOT/infra/launcher/build.sh" >&2
    { step "PostgreSQL's Debian" root postgres-root postgresql && step "image of PostgreSQL" postgres_image "$postgres"; } &
    waits+=($!)
    step "Python's Debian" root python-root python3,openssh-client,ca-certificates
    step "image of MLflow" python_image mlflow "$mlflow" "$ROOT/locks/mlflow.txt" &
    waits+=($!)
    step "image of the lab" python_image lab "$lab" "$ROOT/locks/services.txt" lab &
    waits+=($!)
    for pid in "${waits[@]}"; do wait "$pid" || failed=1; done
    [ -z "$failed" ] || die "not all images were built; what failed is above."
    printf 'LAB_IMAGE=%s\nMLFLOW_IMAGE=%s\nPOSTGRES_IMAGE=%s\n' "$lab" "$mlflow" "$postgres"
}

case "${1:-}" in
archive) debian_root "$3" bookworm "$2" ;;
"") with_lock "$CACHE/services.lock" build ;;
*) die "usage: build.sh" ;;
esac
