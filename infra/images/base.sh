#!/usr/bin/env bash
# Makes livinglab/base:bookworm, a small Debian with Python 3.11. From python:3.11-slim where a registry answers within
# five seconds; otherwise bootstrapped from the packages that this machine is configured to install from.
set -euo pipefail
tag=livinglab/base:bookworm
cache="${LIVINGLAB_CACHE:-$HOME/.cache/livinglab}"
tarball="$cache/base-bookworm.tar"
if docker image inspect "$tag" >/dev/null 2>&1; then exit 0; fi
mkdir -p "$cache"

if [[ ! -f "$tarball" ]] && timeout 5 docker pull -q python:3.11-slim-bookworm >/dev/null 2>&1; then
  docker tag python:3.11-slim-bookworm "$tag"
  echo "base image: python:3.11-slim-bookworm from the registry"
  exit 0
fi
if [[ ! -f "$tarball" ]]; then
  echo "base image: no registry answers, so it is bootstrapped from Debian's packages (about half a minute)"
  mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | awk '
    /^URIs:/ {print $2; exit}
    /^deb / {for (i = 2; i <= NF; i++) if ($i ~ /^https?:/) {print $i; exit}}')
  mmdebstrap --quiet --variant=minbase --include=python3-minimal,libpython3-stdlib \
    --aptopt='APT::Install-Recommends "false"' --dpkgopt='path-exclude=/usr/share/{doc,man,locale,info}/*' \
    bookworm "$tarball.new" "$mirror"
  mv "$tarball.new" "$tarball"
fi
docker import --change 'USER 65532:65532' "$tarball" "$tag" >/dev/null
echo "base image: $tag ($(du -h "$tarball" | cut -f1))"
