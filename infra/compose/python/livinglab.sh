#!/bin/sh
# `livinglab …` in its container. A worker puts the launcher where the engine finds it too: what a container mounts, the engine looks for on its own machine.
set -eu
if [ "$1" = worker ] && ! cmp -s /usr/local/bin/livinglab-launcher "$LIVINGLAB_LAUNCHER"; then
    mkdir -p "$(dirname "$LIVINGLAB_LAUNCHER")"
    cp /usr/local/bin/livinglab-launcher "$LIVINGLAB_LAUNCHER.$$"
    mv "$LIVINGLAB_LAUNCHER.$$" "$LIVINGLAB_LAUNCHER"
fi
exec python3 -m livinglab.cli "$@"
