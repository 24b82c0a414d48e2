#!/usr/bin/env bash
# Builds the launcher as a static binary, unless it is newer than its source.
set -euo pipefail
cd "$(dirname "$0")"
if [[ livinglab-launcher -nt launcher.c ]]; then exit 0; fi
cc=$(command -v musl-gcc || command -v gcc)
"$cc" -static -O2 -std=gnu11 -Wall -Wextra -Werror -fstack-protector-strong -fstack-clash-protection -D_FORTIFY_SOURCE=2 -Wl,-z,relro,-z,now,-z,noexecstack -s -o livinglab-launcher.new launcher.c
mv livinglab-launcher.new livinglab-launcher
echo "built infra/launcher/livinglab-launcher ($(stat -c %s livinglab-launcher) bytes)"
