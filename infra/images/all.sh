#!/usr/bin/env bash
# all.sh [DOMAIN…] — builds the images of harness and reference pilot of each domain (all that are there, if none is named), side by
# side, and prints a line for each: domain, the harness's archive, the pilot's archive.
#
# A domain is two folders of one name: sandboxes/DOMAIN with a sandbox.yaml, and pilots/DOMAIN with a pilot.yaml.
. "$(dirname "$0")/../lib.sh"

domains=("$@")
if [ $# = 0 ]; then
    for spec in "$ROOT"/sandboxes/*/sandbox.yaml; do
        domain="$(basename "$(dirname "$spec")")"
        if [ -f "$ROOT/pilots/$domain/pilot.yaml" ]; then domains+=("$domain"); fi
    done
fi
for domain in "${domains[@]}"; do
    [ -f "$ROOT/sandboxes/$domain/sandbox.yaml" ] && [ -f "$ROOT/pilots/$domain/pilot.yaml" ] ||
        die "there is no domain '$domain'; usage: all.sh [DOMAIN…], each with sandboxes/DOMAIN/sandbox.yaml and pilots/DOMAIN/pilot.yaml."
done

image() { "$ROOT/infra/images/build.sh" "$@"; }
waiting=()
for domain in "${domains[@]}"; do
    step "harness image ($domain)" image "harness-$domain" "sandboxes/$domain/harness" &
    waiting+=("$!")
    step "pilot image ($domain)" image "pilot-$domain" "pilots/$domain" &
    waiting+=("$!")
done
for pid in "${waiting[@]}"; do wait "$pid"; done
for domain in "${domains[@]}"; do
    printf '%s\t%s\t%s\n' "$domain" "$(image "harness-$domain" "sandboxes/$domain/harness")" "$(image "pilot-$domain" "pilots/$domain")"
done
