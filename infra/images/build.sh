#!/usr/bin/env bash
# build.sh NAME CONTEXT — builds the image of a pilot or a harness and prints the path of its archive (what is uploaded).
# CONTEXT holds a Dockerfile, app.list (what goes to /app) and, where it needs packages, requirements.lock. The packages
# are installed here, for the image's platform, and copied in: the build itself needs no network. Nothing is built twice:
# names carry a hash of everything that goes in.
. "$(dirname "$0")/../lib.sh"

name="$1" context="$ROOT/$2"
sources=()
while read -r source _; do [[ "$source" =~ ^(#.*)?$ ]] || sources+=("$ROOT/$source"); done <"$context/app.list"
inputs=("$context/Dockerfile" "${sources[@]}")
[ -f "$context/requirements.lock" ] && inputs+=("$context/requirements.lock")
hash="$(hash_of "${inputs[@]}" "$ROOT/infra/images/build.sh" | cut -c1-16)"
archive="$CACHE/images/$name-$hash.tar"

build() {
    [ -f "$archive" ] && return
    "$ROOT/infra/images/base.sh" >&2
    local folder
    folder="$(mktemp -d)"
    mkdir -p "$folder/app" "$folder/lib" "$CACHE/images"
    cp "$context/Dockerfile" "$folder/"
    while read -r source target; do
        [[ "$source" =~ ^(#.*)?$ ]] && continue
        mkdir -p "$folder/app/$(dirname "$target")"
        cp -r "$ROOT/$source" "$folder/app/$target"
    done <"$context/app.list"
    if [ -f "$context/requirements.lock" ]; then
        "$(find_uv)" pip install --quiet --target "$folder/lib" --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
            --require-hashes --only-binary :all: -r "$context/requirements.lock" >&2
        find "$folder/lib" -type d \( -name tests -o -name test -o -name include \) -prune -exec rm -rf {} +
    fi
    find "$folder" \( -name __pycache__ -o -name '*.pyc' \) -prune -exec rm -rf {} +
    find "$folder" -exec touch -h -d @0 {} + # the same contents make the same layers
    docker build --quiet --network none --build-arg BASE=livinglab/base:bookworm -t "livinglab/$name:$hash" "$folder" >&2
    docker save "livinglab/$name:$hash" >"$archive.new"
    docker rmi "livinglab/$name:$hash" >/dev/null # its archive is what is used; the lab loads it under its own name
    mv "$archive.new" "$archive"
    rm -rf "$folder"
    say "image $name: $(du -h "$archive" | cut -f1)"
}

with_lock "$CACHE/images-$name.lock" build
echo "$archive"
