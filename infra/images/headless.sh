#!/usr/bin/env bash
# headless.sh FOLDER — stand-ins for a display's libraries, for packages in FOLDER that are linked with them and draw nothing.
#
# libsumo is built together with SUMO's window (FOX, X11, OpenGL); a process cannot load it where those libraries are missing, and
# in an image they would be tens of megabytes that nobody needs. Each stand-in has the library's name and the symbols that the
# package wants of it; whoever calls one is ended by a trap, so that a stand-in is never taken for a display. Nothing is done where
# FOLDER has no libsumo, or has them already.
set -euo pipefail
libraries="$1/libsumo.libs"
if ! [ -d "$libraries" ] || [ -e "$libraries/libX11.so.6" ]; then exit 0; fi
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

files=("$1"/libsumo/_libsumo*.so "$libraries"/*)
nm -D --undefined-only "${files[@]}" 2>/dev/null | awk 'NF == 2 { sub(/@.*/, "", $2); print $2 }' | sort -u >"$work/wanted"
nm -D --defined-only "${files[@]}" 2>/dev/null | awk 'NF == 3 { sub(/@.*/, "", $3); print $3 }' | sort -u >"$work/there"
comm -23 "$work/wanted" "$work/there" | grep -E '^(_?X[A-Za-z]|gl[A-Z])' >"$work/symbols"
sed 's/.*/void &(void) { __builtin_trap(); }/' "$work/symbols" >"$work/libX11.c"
: >"$work/empty.c"
for name in libX11.so.6 libXext.so.6 libXrender.so.1 libGL.so.1 libatomic.so.1; do
    source="$work/empty.c"
    if [ "$name" = libX11.so.6 ]; then source="$work/libX11.c"; fi
    gcc -shared -fPIC -Os -w -s -Wl,-soname,"$name" -o "$libraries/$name.new" "$source"
    chmod 644 "$libraries/$name.new"
    mv "$libraries/$name.new" "$libraries/$name"
done
