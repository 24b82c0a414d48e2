#!/usr/bin/env bash
# build.sh NAME CONTEXT — builds the image of a pilot or a harness and prints the path of its archive (what is uploaded).
#
# CONTEXT (a folder, as seen from the repository's root) holds a Dockerfile, app.list (what goes to /app: source and target
# per line) and, where it needs packages, requirements.lock. The packages are installed here, for the image's platform, and
# copied in: the build itself needs no network. Nothing is built twice: the archive's name carries a hash of all that goes in.
. "$(dirname "$0")/../lib.sh"

[ $# = 2 ] || die "usage: infra/images/build.sh NAME CONTEXT"
name="$1" context="$ROOT/$2"
[ -f "$context/Dockerfile" ] && [ -f "$context/app.list" ] || die "$2 has no Dockerfile and app.list; expected both."

sources=() targets=()
while read -r source target; do
    [[ "$source" =~ ^(#.*)?$ ]] && continue
    [ -e "$ROOT/$source" ] || die "$2/app.list names $source, which is not there."
    sources+=("$ROOT/$source") targets+=("$target")
done <"$context/app.list"
lock="$context/requirements.lock"
machinery=("$ROOT/infra/images/build.sh" "$ROOT/infra/images/base.sh" "$ROOT/infra/images/headless.sh")
inputs=("$context/Dockerfile" "$context/app.list" "${sources[@]}" "${machinery[@]}")
if [ -f "$lock" ]; then inputs+=("$lock"); fi
hash="$(hash_of "${inputs[@]}" | cut -c1-16)"
archive="$CACHE/images/$name-$hash.tar"
tag="livinglab/$name:$hash"

# compile FOLDER — to bytecode, by the image's own Python: containers are read-only and would compile at every start, which
# for a scientific stack takes seconds. `unchecked-hash` keeps the files the same from build to build.
compile() {
    docker run --rm --network none --user 0:0 --volume "$1:$2" livinglab/base:bookworm \
        python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash "$2" >/dev/null || say "some files in $1 do not compile; they stay as source"
}

# The packages of a lock file, installed once for all contexts that share it; without tests and headers. Prints the folder.
install_packages() {
    local folder
    folder="$CACHE/packages/$(hash_of "$lock" "${machinery[@]}" | cut -c1-16)"
    if [ ! -d "$folder" ]; then
        rm -rf "$folder.new"
        mkdir -p "$folder.new"
        "$(find_uv)" pip install --quiet --target "$folder.new" --link-mode copy --python-version 3.11 --python-platform "$(uname -m)-manylinux_2_28" \
            --no-deps --require-hashes --only-binary :all: -r "$lock" >&2
        find "$folder.new" -type d \( -name tests -o -name test -o -name include -o -name __pycache__ -o -name bin \) -prune -exec rm -rf {} +
        "$ROOT/infra/images/headless.sh" "$folder.new"
        compile "$folder.new" /opt/lib
        mv "$folder.new" "$folder"
    fi
    printf '%s\n' "$folder"
}

build() {
    [ -s "$archive" ] && return
    local start="$EPOCHREALTIME" packages i
    "$ROOT/infra/images/base.sh"
    mkdir -p "$CACHE/images" "$CACHE/packages"
    folder="$(mktemp -d "$CACHE/build.XXXXXX")" # global, for the trap
    trap 'rm -rf "$folder"' EXIT
    chmod 755 "$folder"
    mkdir "$folder/app" "$folder/lib"
    cp "$context/Dockerfile" "$folder/"
    for i in "${!sources[@]}"; do
        mkdir -p "$folder/app/$(dirname "${targets[$i]}")"
        cp -r "${sources[$i]}" "$folder/app/${targets[$i]}"
    done
    find "$folder/app" \( -name __pycache__ -o -name '.*_cache' \) -prune -exec rm -rf {} +
    compile "$folder/app" /app
    if [ -f "$lock" ]; then
        packages="$(with_lock "$CACHE/packages.lock" install_packages)"
        rmdir "$folder/lib"
        copied "$packages" "$folder/lib"
    fi
    find "$folder" -exec touch -h -d @0 {} + # the same contents make the same layers
    docker_build --build-arg BASE=livinglab/base:bookworm --tag "$tag" "$folder"
    docker save --output "$archive.new" "$tag"
    docker rmi "$tag" >/dev/null # its archive is what is used; the lab loads it under a name of its own
    chmod 644 "$archive.new"
    mv "$archive.new" "$archive"
    # The three newest stay: one may still be on its way to a lab.
    find "$CACHE/images" -name "$name-????????????????.tar" -printf '%T@ %p\0' | sort -znr | tail -zn +4 | cut -zd' ' -f2- | xargs -0r rm -f
    say "image $name: archive of $(stat -c %s "$archive" | awk '{ printf "%.0f MB", $1 / 1e6 }') in $(seconds_since "$start") s"
}

with_lock "$CACHE/images-$name.lock" build >&2
echo "$archive"
