#!/usr/bin/env bash
# Inside a machine of the test bed: start or stop its services. machine.sh be ROLE (as the container's first process) |
# start SERVICE | stop SERVICE | accounts. Roles: ctl (controller, accounting, REST), login, compute.
set -euo pipefail

until_true() { # seconds, command…
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { echo "machine.sh: gave up waiting for: $*" >&2; return 1; }
        sleep 0.05
    done
}

prepare() { # role
    install -d -o munge /run/munge
    install -d -o slurm /run/slurm /var/spool/slurmctld
    install -d /run/sshd /var/spool/slurmd
    install -d -o mysql /run/mysqld /run/mariadbd
    install -d -m 1777 /scratch
    sed -i "s/\bc\([12]\)\b/${NODES:-c}\1/g" /etc/slurm/slurm.conf /etc/slurm/gres.conf
    chmod 666 /dev/fuse # as everywhere: who may mount what is asked elsewhere
    chmod 700 /etc/bed/keys # whoever reads these keys may be anybody
    install -o munge -m 400 /etc/bed/keys/munge /etc/munge/munge.key
    case "$1" in
    ctl) install -o slurm -m 400 /etc/bed/keys/jwt /var/spool/slurmctld/jwt.key ;;
    login)
        install -m 400 /etc/bed/keys/host_key /etc/ssh/ssh_host_ed25519_key
        install -d -o lab -m 700 ~lab/.ssh
        install -o lab -m 600 /etc/bed/keys/id_ed25519.pub ~lab/.ssh/authorized_keys
        ;;
    compute)
        gpus
        energy_meter
        ;;
    esac
}

# Devices in the place of two GPUs: each may be read, which tells whether a job was let to it (they are the CPUs' own descriptions).
gpus() {
    [ -e /dev/nvidia0 ] || mknod -m 666 /dev/nvidia0 c 203 0
    [ -e /dev/nvidia1 ] || mknod -m 666 /dev/nvidia1 c 203 1
    [ -e /dev/nvidiactl ] || mknod -m 666 /dev/nvidiactl c 1 3
}

# The energy counter of a node that takes 100 watts, where Slurm's plugin looks for one. Nothing can be made in /sys itself.
energy_meter() {
    local folder
    mkdir -p /run/sys # a machine that is started again has it
    mount --rbind /sys /run/sys
    mount -t tmpfs -o mode=755 sys /sys
    for folder in /run/sys/*/; do
        mkdir -p "/sys/$(basename "$folder")"
        mount --rbind "$folder" "/sys/$(basename "$folder")"
    done
    mkdir -p /sys/cray/pm_counters
    echo '100 W' >/sys/cray/pm_counters/power
    # The file stays the same, which readers keep open.
    while printf '%s J\n' "$(($(date +%s%N) / 10000000 - 160000000000))" 1<>/sys/cray/pm_counters/energy; do sleep 0.2; done &
}

start() {
    case "$1" in
    munged) runuser -u munge -- munged ;;
    mariadb)
        mariadbd --user=mysql --skip-networking --innodb-flush-log-at-trx-commit=0 --innodb-log-file-size=32M >/var/log/mariadb.log 2>&1 &
        until_true 30 mariadb -e 'select 1'
        mariadb -e 'create database if not exists slurm_acct_db; create user if not exists slurm@localhost identified via unix_socket;
                    grant all on slurm_acct_db.* to slurm@localhost'
        ;;
    slurmdbd)
        runuser -u slurm -- slurmdbd
        until_true 30 bash -c 'exec 9<>/dev/tcp/ctl/6819'
        ;;
    slurmctld)
        # One that was killed before it first saved who used how much (after minutes) does not start again, unless told not to mind (-i).
        local minding=()
        [ -e /var/spool/slurmctld/assoc_usage ] || minding=(-i)
        runuser -u slurm -- slurmctld "${minding[@]}"
        until_true 30 scontrol ping
        ;;
    slurmrestd) # as a user who is nobody else: it may do nothing but pass on what a token allows
        SLURM_JWT=daemon setsid runuser -u restd -- slurmrestd -a rest_auth/jwt 0.0.0.0:6820 >/var/log/slurmrestd.log 2>&1 </dev/null &
        until_true 30 bash -c 'exec 9<>/dev/tcp/127.0.0.1/6820'
        ;;
    slurmd) slurmd ;;
    sshd) /usr/sbin/sshd ;;
    *) echo "machine.sh: no service $1" >&2; return 2 ;;
    esac
}

stop() {
    local name="$1"
    if [ "$name" = mariadb ]; then name=mariadbd; fi
    pkill -x "$name" || return 0
    until_true 30 bash -c "! pgrep -x $name"
}

# Who may compute here, and how: the lab's account, another one, and two classes of service.
accounts() {
    sacctmgr --immediate --quiet add cluster bed || true
    sacctmgr --immediate --quiet add qos scavenge set Preempt= Priority=0 || true
    sacctmgr --immediate --quiet modify qos normal set Preempt=scavenge Priority=100
    sacctmgr --immediate --quiet add account pilots,others Description=bed Organization=bed || true
    sacctmgr --immediate --quiet add user lab Account=pilots DefaultAccount=pilots QOS=normal,scavenge || true
    sacctmgr --immediate --quiet add user other Account=others DefaultAccount=others || true
}

be() {
    local services service
    case "$1" in
    ctl) services="mariadb slurmdbd slurmctld slurmrestd" ;;
    login) services="sshd" ;;
    compute) services="slurmd" ;;
    esac
    prepare "$1"
    start munged
    for service in $services; do start "$service"; done
    touch /run/ready
    sleep infinity &
    wait # what daemons leave behind is reaped here
}

"$@"
