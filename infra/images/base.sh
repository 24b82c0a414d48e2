#!/usr/bin/env bash
# The base of every image here: Python 3.11, a user that is not root, and little else.
#
#   infra/images/base.sh            livinglab/base:bookworm   Python with its whole standard library
#   infra/images/base.sh --minimal  livinglab/base:minimal    the bare interpreter, always from Debian packages: for tests
#
# From python:3.11-slim where a registry answers within 5 seconds; otherwise from Debian packages (mmdebstrap), fetched from
# the mirror that this machine itself uses, and kept as an archive in the cache. LIVINGLAB_BASE=registry|debian chooses.
# The other images are built on top of this one only, without network.
. "$(dirname "$0")/../lib.sh"

UPSTREAM="python:3.11-slim-bookworm"
USER_ID=65532 # nobody's number on any distribution: what leaks out of a container owns nothing outside
SELF="$ROOT/infra/images/base.sh"

# The machine's own Debian sources, in one-line form, for our suites alone: its mirror is the one that works from here.
debian_sources() {
    python3 - <<'PY'
import glob, re

def emit(uris, suites, components):
    for suite in suites:
        if suite in ("bookworm", "bookworm-updates", "bookworm-security") and "main" in components:
            for uri in uris:
                print("deb", uri, suite, "main")

for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.list"))]:
    try:
        lines = open(path, encoding="utf-8").read().splitlines()
    except OSError:
        continue
    for line in lines:
        words = re.sub(r"\[[^]]*\]", "", line.split("#")[0]).split()
        if len(words) >= 4 and words[0] == "deb":
            emit([words[1]], [words[2]], words[3:])
for path in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
    for stanza in re.split(r"\n\s*\n", open(path, encoding="utf-8").read()):
        kept = "\n".join(line for line in stanza.splitlines() if not line.startswith("#"))
        fields = {k.lower(): v.split() for k, v in re.findall(r"^([A-Za-z-]+):((?:.*\n?(?:[ \t].*\n?)*))", kept, re.M)}
        if "deb" in fields.get("types", []) and fields.get("enabled", ["yes"]) != ["no"]:
            emit(fields.get("uris", []), fields.get("suites", []), fields.get("components", []))
PY
}

# What no pilot needs, and what only helps an intruder: Perl, the package manager, file system and account tools, rare
# character sets, set-user-id bits. The list of packages (dpkg/status) stays, for scanners.
trim() { # the new root
    cd "$1"
    printf 'lab:x:%s:%s::/tmp:/usr/sbin/nologin\n' "$USER_ID" "$USER_ID" >>etc/passwd
    printf 'lab:x:%s:\n' "$USER_ID" >>etc/group
    rm -rf usr/lib/*-linux-gnu/perl* usr/share/perl* usr/bin/perl* usr/lib/apt usr/lib/*-linux-gnu/libapt* usr/bin/apt* usr/bin/dpkg* \
        usr/lib/systemd usr/lib/*-linux-gnu/security usr/share/{bash-completion,common-licenses,debconf,keyrings,lintian,pam*,zsh} \
        var/lib/dpkg/info var/lib/apt var/cache var/log usr/share/binfmts etc/systemd etc/cron* etc/pam.d \
        etc/apt/sources.list* etc/resolv.conf etc/hostname
    find usr/lib/*-linux-gnu/gconv -name '*.so' ! -name 'UTF-*' ! -name 'ISO8859-*' ! -name 'CP125*' -delete
    find usr/sbin ! -type d ! -name ldconfig ! -name nologin -delete
    find usr -xdev -type f -perm /6000 -exec chmod a-s {} +
}

make_archive() { # package, target
    local sources
    sources="$(debian_sources)"
    [ -n "$sources" ] || die "no source for Debian 12 (bookworm) in /etc/apt; add one, or set LIVINGLAB_BASE=registry."
    work="$(mktemp -d "$(dirname "$2")/base.XXXXXX")" # global, for the trap
    trap 'rm -rf "$work"' EXIT
    # Proxies and certificates that this machine's apt needs are needed here too, but do not belong in the image.
    { apt-config dump | grep -E '^Acquire::(http|https|Retries)' || true; } >"$work/apt.conf"
    printf 'APT::Install-Recommends "false";\nAcquire::Languages "none";\n' >>"$work/apt.conf"
    printf '%s\n' "$sources" | SOURCE_DATE_EPOCH=1700000000 mmdebstrap --quiet --variant=minbase --include="$1,libstdc++6" \
        --aptopt="$work/apt.conf" --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --customize-hook="'$SELF' --trim \"\$1\"" bookworm "$work/base.tar" -
    mv "$work/base.tar" "$2"
}

from_debian() { # tag, variant, key
    local archive="$CACHE/base-$2-$3.tar" package=python3
    if [ "$2" = minimal ]; then package=python3-minimal; fi
    if [ ! -s "$archive" ]; then
        command -v mmdebstrap >/dev/null || die "mmdebstrap is missing: apt-get install mmdebstrap (make setup does it)."
        rm -f "$CACHE/base-$2"*.tar
        as_root env LIVINGLAB_CACHE="$CACHE" "$SELF" --archive "$package" "$archive"
    fi
    docker import --change "USER $USER_ID:$USER_ID" --change 'CMD ["python3"]' --change "LABEL livinglab.content=$3" "$archive" "$1" >/dev/null
}

from_registry() { # tag, key
    local context status=0
    context="$(mktemp -d)"
    printf 'FROM %s\nUSER %s:%s\nLABEL livinglab.content=%s\n' "$UPSTREAM" "$USER_ID" "$USER_ID" "$2" >"$context/Dockerfile"
    { docker image inspect "$UPSTREAM" >/dev/null 2>&1 || docker pull --quiet "$UPSTREAM" >/dev/null; } && docker_build --tag "$1" "$context" || status=$?
    rm -rf "$context"
    return "$status"
}

# Asking for the manifest is quick or fails; a download that has begun well is never cut off.
registry_answers() { docker image inspect "$UPSTREAM" >/dev/null 2>&1 || timeout 5 docker manifest inspect "$UPSTREAM" >/dev/null 2>&1; }

make_base() { # variant
    local tag="livinglab/base:$1" key start="$EPOCHREALTIME" wanted="${LIVINGLAB_BASE:-auto}"
    key="$(hash_of "$SELF" | cut -c1-16)"
    if [ "$(image_label "$tag" livinglab.content)" = "$key" ]; then return; fi
    case "$wanted" in registry | debian | auto) ;; *) die "LIVINGLAB_BASE is '$wanted'; expected registry, debian or auto." ;; esac
    if [ "$1" != minimal ] && { [ "$wanted" = registry ] || { [ "$wanted" = auto ] && registry_answers; }; }; then
        say "base image: a registry answers, taking $UPSTREAM"
        from_registry "$tag" "$key"
    else
        if [ "$1 $wanted" = "bookworm auto" ]; then say "base image: no registry answers within 5 s, so it is made from Debian packages (about 20 s, once)"; fi
        from_debian "$tag" "$1" "$key"
    fi
    say "$tag: $(docker image inspect --format '{{.Size}}' "$tag" | awk '{ printf "%.0f MB", $1 / 1e6 }') in $(seconds_since "$start") s"
}

case "${1:-}" in
    --trim) trim "$2" ;;
    --archive) make_archive "$2" "$3" ;;
    --minimal) with_lock "$CACHE/base.lock" make_base minimal ;;
    "") with_lock "$CACHE/base.lock" make_base bookworm ;;
    *) die "'$1' is not known; usage: base.sh [--minimal]" ;;
esac
