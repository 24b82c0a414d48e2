#!/bin/bash -p
# The lab's job on a compute node: one or more Apptainer containers that live and die together.
#
#   job.sh JOB       JOB: the job's folder on the cluster's scratch, written by the lab (see `layout.py`)
#
# It needs bash 4.3, util-linux 2.36, coreutils, procps, tar and an Apptainer that runs in user namespaces. Nothing here needs root.
# What a container may write to are file systems in memory, of a fixed size, in a namespace of this job's own: they are gone
# with it, and charged to the job's control group. What is left in JOB/left was written by this script, never by a container.
set -u
export LC_ALL=C PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
umask 077
JOB="$1"
SELF="$0"
LEFT="$JOB/left"
BOX="$JOB/box" # mount points; what is mounted there is seen by this job alone
NOT_OURS=96    # another job has the claim
BROKEN=95      # the node cannot do what the lab needs; JOB/left/broken says why
LOST=94        # an earlier try of this job had begun, and left no word of its end
. "$JOB/job.launch"

# Those who wait look for this mark.
tell_end() { : >"$JOB/../../ended/${JOB##*/}"; } 2>/dev/null

broken() {
    printf '%s\n' "$*" >"$LEFT/broken.new" && mv "$LEFT/broken.new" "$LEFT/broken"
    tell_end
    exit "$BROKEN"
}

# --- outside ----------------------------------------------------------------------------------------------------------

# A job that was submitted twice runs once: the link is made by whoever comes first, and by it again after a requeue.
claim() {
    local id="${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
    printf '%s\n' "$id" >"$JOB/claim.$id" && ln "$JOB/claim.$id" "$JOB/claim" 2>/dev/null
    rm -f "$JOB/claim.$id"
    [ "$(cat "$JOB/claim")" = "$id" ] || exit "$NOT_OURS"
    if [ -e "$JOB/cancelled" ]; then exit "$NOT_OURS"; fi
    if [ -e "$JOB/lost" ]; then exit "$LOST"; fi
}

# After a requeue: a try that was ended in good order is made again, one that came to its own end is not, and one that had
# begun and left no word was lost with its node, where it may still be running.
look_back() {
    if [ -e "$LEFT/end" ]; then
        [ -e "$LEFT/terminated" ] || exit 0
    elif ls "$LEFT"/*/started >/dev/null 2>&1; then
        : >"$JOB/lost"
        tell_end
        exit "$LOST"
    fi
    rm -rf "$LEFT" "$JOB/../../ended/${JOB##*/}"
    mkdir "$LEFT" || exit "$BROKEN"
}

# The ids of the lab's choice, and a mount table of our own.
APART=(unshare --user --map-user="${RUN_UID:-}" --map-group="${RUN_GID:-}" --mount --keep-caps --propagation private --)

# Several containers are steps of the job, so that each has limits of its own; they enter the one mount table that all share.
run_steps() {
    local role pid main
    trap : TERM
    "${APART[@]}" /bin/bash -p "$SELF" "$JOB" inside &
    main=$!
    until [ -e "$LEFT/ready" ] || ! kill -0 "$main" 2>/dev/null; do sleep 0.01; done
    for role in "${ROLES[@]}"; do
        . "$JOB/$role.launch"
        {
            srun --quiet --overlap --exact --nodes=1 --ntasks=1 --cpus-per-task="$CORES" --mem="${MEBIBYTES}M" --gres="$GRES" --export=NONE --input=none --chdir=/ \
                /bin/bash -p "$SELF" "$JOB" step "$role" "$main" >>"$LEFT/$role/step.log" 2>&1
            printf '%s\n' "$?" >"$LEFT/$role/step"
        } &
    done
    while kill -0 "$main" 2>/dev/null; do
        wait "$main"
        code=$?
    done
    exit "$code"
}

# --- inside -----------------------------------------------------------------------------------------------------------

sized() { # folder, bytes, inodes, mode
    mkdir -p "$1" && mount -t tmpfs -o "size=$2,nr_inodes=$3,mode=$4,nosuid,nodev,noexec" livinglab "$1" || broken "no file system of a fixed size could be mounted at $1"
}

# Apptainer looks its user up by name.
lay_out() {
    local role
    [ -d "$BOX" ] || mkdir "$BOX" || exit "$BROKEN" # the lab has removed the job
    sized "$BOX" 1048576 256 0700
    printf 'root:x:0:0::/:/bin/sh\nlab:x:%s:%s::/:/bin/sh\n' "$RUN_UID" "$RUN_GID" >"$BOX/passwd"
    printf 'root:x:0:\nlab:x:%s:\n' "$RUN_GID" >"$BOX/group"
    mount --bind "$BOX/passwd" /etc/passwd && mount --bind "$BOX/group" /etc/group || broken "no file could be bound over /etc/passwd in a user namespace"
    # Apptainer would mount the socket of this daemon for whoever has a GPU.
    if [ -d /run/nvidia-persistenced ]; then mount -t tmpfs livinglab /run/nvidia-persistenced || broken "/run/nvidia-persistenced could not be covered"; fi
    if [ "$SOCKET_BYTES" != 0 ]; then sized "$BOX/socket" "$SOCKET_BYTES" "$SOCKET_INODES" 0700; fi
    mkdir "$BOX/apptainer"
    for role in "${ROLES[@]}"; do
        . "$JOB/$role.launch"
        mkdir -p "$BOX/$role" "$LEFT/$role"
        sized "$BOX/$role/out" "$OUT_BYTES" "$((OUT_FILES + 1))" 0700
        sized "$BOX/$role/tmp" "$TMP_BYTES" 65536 1777
        sized "$BOX/$role/shm" "$TMP_BYTES" 65536 1777
        mkfifo "$BOX/$role/gate" "$BOX/$role/word" "$BOX/$role/says"
    done
}

# The processes below one, breadth first. (Every container waits for this and for `look`: they begin few processes of their own.)
below() {
    local file children=() next=("$1")
    while [ "${#next[@]}" != 0 ]; do
        for file in "/proc/${next[0]}/task/"*/children; do
            read -r -a children <"$file" || [ "${#children[@]}" != 0 ] || continue
            printf '%s\n' ${children[@]+"${children[@]}"}
            next+=(${children[@]+"${children[@]}"})
        done
        next=("${next[@]:1}")
    done
} 2>/dev/null

# The first process of a container's own process namespace: with it, all of the container ends.
first_process() { # role
    local pid own
    own="$(readlink /proc/self/ns/pid)"
    for pid in $(below "$(cat "$BOX/$1/pid")"); do # breadth first, so the first that is elsewhere is the first there
        if [ "$(readlink "/proc/$pid/ns/pid")" != "$own" ]; then printf '%s\n' "$pid" && return; fi
    done
}

# end ROLE REASON — kill a container; why is written down before it is done.
end() {
    [ -s "$BOX/$1/ended" ] || printf '%s\n' "$2" >>"$LEFT/$1/stopped"
    local pid
    pid="$(first_process "$1")"
    kill -KILL $pid "$(cat "$BOX/$1/pid")" 2>/dev/null
}

# Every value of a control group's file, from our own group up to the root.
limits() { # prefix below /sys/fs/cgroup, group, file
    local group="$2" value
    while :; do
        read -r value <"/sys/fs/cgroup/$1$group/$3" && printf 'cgroup %s %s\n' "$3" "$value"
        [ -n "${group%/}" ] || return 0
        group="${group%/*}"
    done
} 2>/dev/null

group_of() { # controller (none: version 2), process
    local controllers group
    while IFS=: read -r _ controllers group; do
        case ",$controllers," in *",$1,"*) printf '%s\n' "$group" && return ;; esac
    done <"/proc/$2/cgroup"
}

prefixed() { # word, file
    local lines=()
    mapfile -t lines <"$2" && printf "$1 %s\n" "${lines[@]}"
}

# What is seen of a container from outside, before its command is executed: the lab reads it (see `view.py`).
look() { # role
    local pid launcher n tries=0 name ns=(net mnt pid ipc uts user) theirs=() ours=()
    # What the kernel tells of children is not whole while a thread of their parent ends, as the runtime's do: it is asked again.
    until [ -n "${launcher:-}" ] || [ "$((tries += 1))" -gt 100 ]; do
        for pid in $(below "$(cat "$BOX/$1/pid")"); do
            if read -r name <"/proc/$pid/comm" && [ "$name" = launcher ]; then launcher="$pid"; fi
        done 2>/dev/null
        [ -n "${launcher:-}" ] || sleep 0.01
    done
    [ -n "${launcher:-}" ] || return 0 # it could not wait; nothing is seen, which the judge refuses
    mapfile -t theirs < <(cd "/proc/$launcher/ns" && readlink "${ns[@]}")
    mapfile -t ours < <(cd /proc/self/ns && readlink "${ns[@]}")
    {
        for n in "${!ns[@]}"; do printf 'ns %s %s %s\n' "${ns[n]}" "${theirs[n]:-}" "${ours[n]:-}"; done
        cat "$BOX/$1/gpus"
        prefixed uid_map "/proc/$launcher/uid_map"
        prefixed status "/proc/$launcher/status"
        prefixed interface "/proc/$launcher/net/dev"
        prefixed mount "/proc/$launcher/mountinfo"
        prefixed rlimit "/proc/$launcher/limits"
        while IFS= read -r -d '' name; do
            name="${name%%=*}" # an image chooses it
            printf 'environment %s\n' "${name//$'\n'/?}"
        done <"/proc/$launcher/environ"
        limits memory "$(group_of memory "$launcher")" memory.limit_in_bytes
        limits cpuset "$(group_of cpuset "$launcher")" cpuset.cpus
        limits pids "$(group_of pids "$launcher")" pids.max
        for name in memory.max memory.swap.max cpuset.cpus.effective cpu.max pids.max; do limits '' "$(group_of '' "$launcher")" "$name"; done
    } >"$LEFT/$1/view.new" 2>/dev/null && mv "$LEFT/$1/view.new" "$LEFT/$1/view"
}

# From here on nobody below makes a namespace of any kind: what a container could do as the master of one, it cannot.
# Not before every container has its own.
close_namespaces() {
    local role kind
    : >"$BOX/$1/looked"
    for role in "${ROLES[@]}"; do until [ -e "$BOX/$role/looked" ] || [ -e "$BOX/$role/ended" ]; do sleep 0.01; done; done
    for kind in user net mnt pid ipc uts cgroup; do printf '0\n' >"/proc/sys/user/max_${kind}_namespaces"; done 2>/dev/null
    [ "$(cat /proc/sys/user/max_user_namespaces)" = 0 ] || end "$1" namespaces
}

# spoil ROLE WHAT — what the lab must know of a container cannot be written down, so it is ended.
spoil() {
    printf '%s\n' "$2" >"$BOX/$1/spoilt"
    end "$1" spoilt
}

# drain ROLE — keep the launcher's line and, up to its limit, what the container says; look; then let it go on.
# What the runtime itself has to say comes before the launcher's line, and is kept apart.
drain() {
    local line n=0
    while IFS= read -r -n 16384 line || [ -n "$line" ]; do
        if [ "${line#livinglab-launcher/1 }" != "$line" ]; then
            printf '%s\n' "$line" >"$LEFT/$1/report" && look "$1" || spoil "$1" "how container $1 is confined"
            close_namespaces "$1"
            break
        fi
        if [ "$((n += 1))" -le 100 ]; then printf '%s\n' "$line" >>"$LEFT/$1/step.log"; fi
    done
    if [ ! -e "$BOX/$1/spoilt" ]; then printf 'go\n' >"$BOX/$1/gate" & fi
    # As it comes, since it is followed.
    stdbuf -o0 head -c "$((LOG_BYTES + 1))" >"$LEFT/$1/log" || spoil "$1" "what container $1 said"
    if [ "$(stat -c %s "$LEFT/$1/log")" -gt "$LOG_BYTES" ]; then end "$1" log_bytes; fi
    cat >/dev/null
    : >"$BOX/$1/drained"
}

# start ROLE GPUS — a container's processes, and what the scheduler calls the GPUs that they were given; it writes its own number and exit code down.
start() {
    local box="$BOX/$1" bind binds=()
    . "$JOB/$1.launch"
    printf 'gpus %s\n' "$2" >"$box/gpus"
    for bind in "${BINDS[@]}"; do
        bind="${bind/#@out/$box/out}"
        binds+=(--bind "${bind/#@socket/$BOX/socket}")
    done
    env -i PATH="$PATH" LC_ALL=C HOME="$BOX/apptainer" APPTAINER_CONFIGDIR="$BOX/apptainer" APPTAINER_CACHEDIR="$BOX/apptainer" APPTAINER_TMPDIR="$BOX/apptainer" \
        setpriv --inh-caps=-all --ambient-caps=-all -- "$APPTAINER" --silent --nocolor --config "$CONFIG" exec --containall --no-init --cleanenv --no-home --no-eval \
        --no-mount bind-paths --net --network none --uts --pwd / --security "seccomp:$SECCOMP" --bind "$box/tmp:/tmp" --bind "$box/shm:/dev/shm" "${binds[@]}" \
        ${GPUS[@]+"${GPUS[@]}"} "$SIF" "${COMMAND[@]}" <"$box/word" >"$box/says" 2>&1 &
    printf '%s\n' "$!" >"$box/pid.new" && mv "$box/pid.new" "$box/pid"
    if [ -e "$LEFT/terminated" ]; then end "$1" terminated; fi # the word came before there was anybody to end
    wait_for "$!"
    printf '%s\n' "$?" >"$box/code.new"
    # Of this control group alone: each step of a job has its own.
    if cat "/sys/fs/cgroup/memory$(group_of memory self)/memory.oom_control" "/sys/fs/cgroup$(group_of '' self)/memory.events" 2>/dev/null |
        grep -q '^oom_kill [1-9]'; then : >"$LEFT/$1/oom"; fi
    mv "$box/code.new" "$box/code"
}

# The end of a child; a signal interrupts `wait`.
wait_for() {
    local code=0
    while kill -0 "$1" 2>/dev/null; do
        wait "$1"
        code=$?
    done
    return "$code"
}

# A while of this job's own: while the scheduler suspends it, no more than a few seconds pass.
sleep_at_work() { # seconds
    local whole="${1%%.*}"
    case "$1" in *.*) sleep "0.${1#*.}" ;; esac
    while [ "$whole" -gt 0 ]; do
        sleep "$((whole > 5 ? 5 : whole))"
        whole="$((whole - 5))"
    done
}

# contain ROLE — carry one container to its end, and put aside what it left.
contain() {
    local role="$1" box="$BOX/$1" left="$LEFT/$1" alarm started codes n=0
    . "$JOB/$role.launch"
    trap : TERM # the script's first process sees to it; handlers are not inherited by what is executed
    drain "$role" <"$box/says" &
    cat "$box/gate" >"$box/word" & # standard input of the launcher, which waits for its end
    date +%s.%N >"$left/started"
    if [ "${#ROLES[@]}" = 1 ]; then
        start "$role" "${SLURM_JOB_GPUS:-}" &
        started=$!
    fi
    (
        sleep_at_work "$WALL_SECONDS"
        end "$role" wall_seconds
    ) &
    alarm=$!
    if [ -n "${started:-}" ]; then wait_for "$started"; fi
    until [ -e "$box/code" ] || [ -e "$left/step" ]; do sleep 0.05; done
    printf 'ended\n' >"$box/ended"
    date +%s.%N >"$left/ended"
    kill -STOP "$alarm" 2>/dev/null
    pkill -KILL -P "$alarm" 2>/dev/null
    kill -KILL "$alarm" 2>/dev/null
    until [ -e "$box/drained" ] || [ "$((n += 1))" -gt 1000 ]; do sleep 0.01; done
    [ -e "$box/drained" ] || broken "nobody took down what container $role said"
    [ ! -e "$box/spoilt" ] || broken "$(cat "$box/spoilt") could not be written down in the lab's folder"
    if [ "$(stat -f -c %a "$box/out")" = 0 ] || [ "$(stat -f -c %d "$box/out")" = 0 ]; then : >"$left/full"; fi
    # tar passes sockets over in silence. A fifo it keeps, and that is no plain file either.
    find "$box/out" -type s -exec rm -f {} \; -exec mkfifo {} \;
    # Its size is bounded by the volume's; sparse files would grow here, so the stream is bounded too, and tar then fails.
    tar -C "$box/out" --create --format=pax --hard-dereference --file=- . 2>/dev/null | head -c "$ARCHIVE_BYTES" >"$left/outputs.tar"
    codes="${PIPESTATUS[*]}"
    if [ "$codes" != "0 0" ] && { [ "${codes#* }" != 0 ] || [ "$(stat -c %s "$left/outputs.tar")" != "$ARCHIVE_BYTES" ]; }; then
        broken "the outputs of container $role could not be put aside in the lab's folder"
    fi
    usage "$left/usage"
    { cat "$box/code" 2>/dev/null || printf '137\n'; } >"$left/exit.new" && mv "$left/exit.new" "$left/exit"
}

# When one has ended, those that live together with it get a moment, and are ended.
accompany() {
    local role
    until ls "$LEFT"/*/ended >/dev/null 2>&1; do sleep 0.05; done
    sleep "$GRACE_SECONDS"
    for role in "${ROLES[@]}"; do [ -e "$LEFT/$role/ended" ] || end "$role" alone; done
}

usage() { # file
    local memory cpu
    memory="$(cat "/sys/fs/cgroup/memory$(group_of memory self | sed 's,/step_.*,,')/memory.max_usage_in_bytes" \
        "/sys/fs/cgroup$(group_of '' self | sed 's,/step_.*,,')/memory.peak" 2>/dev/null | head -n 1)"
    cpu="$(cat "/sys/fs/cgroup/cpuacct$(group_of cpuacct self | sed 's,/step_.*,,')/cpuacct.usage" 2>/dev/null ||
        sed -n 's/^usage_usec \(.*\)/\1000/p' "/sys/fs/cgroup$(group_of '' self | sed 's,/step_.*,,')/cpu.stat" 2>/dev/null)"
    printf 'memory_peak_bytes %s\ncpu_nanoseconds %s\nnode %s\nrestarts %s\n' "$memory" "$cpu" "${SLURMD_NODENAME:-}" "${SLURM_RESTART_COUNT:-0}" >"$1"
}

terminate() {
    local role
    : >"$LEFT/terminated"
    for role in "${ROLES[@]}"; do
        if [ -p "$BOX/$role/says" ] && [ ! -e "$LEFT/$role/exit" ]; then end "$role" terminated; fi
    done
}

inside() {
    local role pid others=()
    trap terminate TERM
    lay_out
    : >"$LEFT/ready"
    for role in "${ROLES[@]}"; do
        contain "$role" &
        others+=("$!")
    done
    if [ "${#ROLES[@]}" -gt 1 ]; then accompany & fi
    for pid in "${others[@]}"; do wait_for "$pid"; done
    [ -e "$LEFT/broken" ] && exit "$BROKEN"
    for role in "${ROLES[@]}"; do [ -e "$LEFT/$role/exit" ] || broken "container $role was not carried to its end"; done
    date +%s.%N >"$LEFT/end.new" && mv "$LEFT/end.new" "$LEFT/end"
    # A job that is put back into the queue has not ended for those who wait.
    if [ ! -e "$LEFT/terminated" ] || [ -e "$JOB/cancelled" ]; then tell_end; fi
    exit 0
}

case "${2:-}" in
inside) inside ;;
step) exec nsenter --target "$4" --user --mount --preserve-credentials -- /bin/bash -p "$SELF" "$JOB" start "$3" ;;
start)
    trap : TERM
    start "$3" "${SLURM_STEP_GPUS:-}"
    ;;
*)
    claim
    look_back
    exec >>"$LEFT/script.log" 2>&1
    for tool in "$APPTAINER" unshare nsenter setpriv mount mkfifo tar find head stat stdbuf sed grep tr readlink pkill; do
        command -v "$tool" >/dev/null || broken "it has no $tool"
    done
    if [ "${#ROLES[@]}" -gt 1 ]; then run_steps; fi
    exec "${APART[@]}" /bin/bash -p "$SELF" "$JOB" inside
    ;;
esac
