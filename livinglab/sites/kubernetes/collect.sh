#!/bin/bash -p
# Beside a job's containers, in their pod: waits until they are over, and brings away what they left.
#
#   collect.sh GRACE ROLE=BYTES…    ROLE's outputs are at /out/ROLE; of their archive at most BYTES are kept; 0: it has none
#
# Each container's launcher holds a pipe open as long as the container is there. Who is left alone by another has GRACE seconds. Where nobody
# holds a pipe (a container that never began) the lab sends word.
# Its exit code tells, one bit for each in their order, whose volume was full, and then whose outputs have a socket among them, which tar
# passes over in silence: the API server has it with everything else.
# What is left in /job/left was written by this script, never by a container.
set -u
export LC_ALL=C PATH=/usr/local/bin:/usr/bin:/bin
umask 022
rm -f /job/launcher # the containers have it; a pod that the cluster begins once more finds none, and begins nothing
grace="$1" left=() alone=()
shift
for each; do
    cat "/job/${each%%=*}.begin" >/dev/null 2>&1 &
    left+=("$!")
done
until [ -e /job/collect ]; do sleep 0.5; done & # nothing else here takes time of the processor while it waits
told="$!"
while [ "${#left[@]}" != 0 ]; do
    wait -n "${left[@]}" "${alone[@]}" "$told" 2>/dev/null
    still=()
    for pid in "${left[@]}"; do if kill -0 "$pid" 2>/dev/null; then still+=("$pid"); fi; done
    left=("${still[@]}")
    if ! kill -0 "$told" 2>/dev/null || { [ "${#alone[@]}" != 0 ] && ! kill -0 "${alone[0]}" 2>/dev/null; }; then break; fi
    if [ "${#left[@]}" -lt "$#" ] && [ "${#alone[@]}" = 0 ]; then
        sleep "$grace" &
        alone=("$!")
    fi
done
code=0 full=1 odd="$((1 << $#))"
for each; do
    role="${each%%=*}" bytes="${each#*=}"
    if [ "$bytes" != 0 ]; then
        if [ "$(stat -f -c %a "/out/$role")" = 0 ]; then code="$((code | full))"; fi
        # Whoever wrote it has this script's user, and may have closed it. Links are not followed.
        sockets="$(find "/out/$role" -type s -printf s -quit -o -type d ! -perm -u=rwx -exec chmod u+rwx {} \; -o -type f ! -perm -u=r -exec chmod u+r {} \;)"
        if [ -n "$sockets" ]; then code="$((code | odd))"; fi
        tar -C "/out/$role" --create --format=pax --hard-dereference --file=- . 2>/dev/null | head -c "$bytes" >"/job/left/$role.new" &&
            mv "/job/left/$role.new" "/job/left/$role.tar"
    fi
    full="$((full * 2))" odd="$((odd * 2))"
done
exit "$code"
