#!/usr/bin/env bash
# Inside a machine of the test bed: start, stop or kill its services. machine.sh be ROLE (as the container's first process) |
# start SERVICE | stop SERVICE | kill SERVICE | pause SERVICE | resume SERVICE | identity NODE. Roles: ctl (etcd, the control
# plane, the registry), node.
set -euo pipefail

KEYS=/etc/bed/keys
CTL=ctl
CONTROLLERS=(/sys/fs/cgroup/{cpu,cpuacct,cpuset,memory,devices,freezer,blkio,pids,systemd})

until_true() { # seconds, command…
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { echo "machine.sh: gave up waiting for: $*" >&2; return 1; }
        sleep 0.05
    done
}

key() { openssl ecparam -genkey -noout -name prime256v1 -out "$1"; }

# certificate FOLDER NAME SUBJECT [NAMES] — a key and a certificate of the cluster's authority; for clients, and for servers where NAMES are given.
certificate() {
    local usage=clientAuth
    key "$1/$2.key"
    if [ -n "${4:-}" ]; then usage="clientAuth,serverAuth"; fi
    openssl req -new -key "$1/$2.key" -subj "$3" |
        openssl x509 -req -CA $KEYS/ca.crt -CAkey $KEYS/ca.key -days 365 -out "$1/$2.crt" \
            -extfile <(printf 'extendedKeyUsage=%s\nkeyUsage=digitalSignature\n%s\n' "$usage" "${4:+subjectAltName=$4}") 2>/dev/null
}

# kubeconfig FOLDER NAME [ADDRESS] — what a client with that certificate needs.
kubeconfig() {
    cat >"$1/$2.kubeconfig" <<END
{apiVersion: v1, kind: Config, current-context: bed,
 contexts: [{name: bed, context: {cluster: bed, user: $2}}],
 clusters: [{name: bed, cluster: {server: "https://${3:-$CTL}:6443", certificate-authority-data: $(base64 -w0 $KEYS/ca.crt)}}],
 users: [{name: $2, user: {client-certificate-data: $(base64 -w0 "$1/$2.crt"), client-key-data: $(base64 -w0 "$1/$2.key")}}]}
END
}

# Keys of this bed alone.
keys() {
    local address
    address="$(hostname -i)"
    key $KEYS/ca.key
    openssl req -x509 -new -key $KEYS/ca.key -subj /CN=bed -days 365 -out $KEYS/ca.crt
    key $KEYS/accounts.key
    certificate $KEYS apiserver /O=bed/CN=apiserver "DNS:ctl,DNS:kubernetes.default.svc,IP:$address,IP:10.96.0.1,IP:127.0.0.1"
    certificate $KEYS registry /O=bed/CN=registry "DNS:registry,IP:$address"
    certificate $KEYS admin /O=system:masters/CN=admin
    certificate $KEYS controllers /CN=system:kube-controller-manager
    certificate $KEYS scheduler /CN=system:kube-scheduler
    kubeconfig $KEYS controllers
    kubeconfig $KEYS scheduler
    kubeconfig $KEYS admin "$address"
    head -c 16 /dev/urandom | base64 | tr -d '/+=\n' >$KEYS/registry.password
    printf 'lab:%s\n' "$(mkpasswd --method=bcrypt --stdin <$KEYS/registry.password)" >$KEYS/htpasswd
    touch $KEYS/complete
}

# identity NODE — a tar with what a node needs to belong to the cluster; the authority's key stays here.
identity() {
    local folder
    folder="$(mktemp -d)"
    cp $KEYS/ca.crt "$folder"
    certificate "$folder" kubelet "/O=system:nodes/CN=system:node:$1" "DNS:$1"
    kubeconfig "$folder" kubelet
    tar -C "$folder" -c .
    rm -rf "$folder"
}

# A kubelet sets three parameters of the kernel, which is not only ours: it finds them as it wants them, and changes a file.
spare_the_kernel() {
    local setting
    mkdir -p /run/kernel
    while read -r setting value; do
        echo "$value" >"/run/kernel/${setting//\//.}"
        mountpoint -q "/proc/sys/$setting" || mount --bind "/run/kernel/${setting//\//.}" "/proc/sys/$setting"
    done <<'END'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
END
}

# A node's pods have a control group of their own, named for the bed and the node, in every hierarchy.
make_groups() {
    local folder
    for folder in "${CONTROLLERS[@]/%//$GROUP}"; do
        mkdir -p "$folder"
        if [[ $folder == */cpuset/* ]]; then
            cat "$folder/../cpuset.cpus" >"$folder/cpuset.cpus"
            cat "$folder/../cpuset.mems" >"$folder/cpuset.mems"
        fi
    done
}

# The other nodes' pods are reached through those nodes.
make_routes() {
    local number="${HOSTNAME#n}" other
    sed -i "s/@/$number/" /etc/cni/net.d/net.conflist
    for other in $NODES; do
        if [ "n$other" = "$HOSTNAME" ]; then continue; fi
        until_true 60 getent hosts "n$other"
        ip route replace "10.244.$other.0/24" via "$(getent hosts "n$other" | cut -d' ' -f1)"
    done
}

launch() { # name, command…
    setsid "${@:2}" >>"/var/log/$1.log" 2>&1 </dev/null &
}

healthy() { kubectl --kubeconfig=$KEYS/admin.kubeconfig get --raw /readyz; }

start() {
    case "$1" in
    etcd)
        launch etcd etcd --data-dir /var/lib/etcd/bed --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --log-level warn
        until_true 60 etcdctl endpoint health
        ;;
    kube-apiserver)
        launch kube-apiserver /opt/kubernetes/kube-apiserver --etcd-servers=http://127.0.0.1:2379 --secure-port=6443 --client-ca-file=$KEYS/ca.crt \
            --tls-cert-file=$KEYS/apiserver.crt --tls-private-key-file=$KEYS/apiserver.key --authorization-mode=Node,RBAC \
            --enable-admission-plugins=NodeRestriction --service-cluster-ip-range=10.96.0.0/16 \
            --service-account-issuer=bed --service-account-key-file=$KEYS/accounts.key --service-account-signing-key-file=$KEYS/accounts.key \
            --kubelet-client-certificate=$KEYS/admin.crt --kubelet-client-key=$KEYS/admin.key --kubelet-certificate-authority=$KEYS/ca.crt \
            --kubelet-preferred-address-types=Hostname --default-not-ready-toleration-seconds=5 --default-unreachable-toleration-seconds=5 \
            --audit-policy-file=/etc/bed/audit.yaml --audit-log-path=/var/log/audit.log
        until_true 60 healthy
        ;;
    kube-controller-manager)
        launch kube-controller-manager /opt/kubernetes/kube-controller-manager --kubeconfig=$KEYS/controllers.kubeconfig --use-service-account-credentials \
            --service-account-private-key-file=$KEYS/accounts.key --root-ca-file=$KEYS/ca.crt --leader-elect=false --node-monitor-period=2s --node-monitor-grace-period=12s \
            --pvclaimbinder-sync-period=1s
        ;;
    kube-scheduler) launch kube-scheduler /opt/kubernetes/kube-scheduler --kubeconfig=$KEYS/scheduler.kubeconfig --leader-elect=false ;;
    registry)
        launch registry docker-registry serve /etc/bed/registry.yaml
        until_true 30 bash -c 'exec 9<>/dev/tcp/127.0.0.1/5000'
        ;;
    containerd)
        launch containerd containerd --config /etc/bed/containerd.toml
        until_true 30 ctr version
        ;;
    kubelet)
        launch kubelet /opt/kubernetes/kubelet --config=/etc/bed/kubelet.yaml --kubeconfig=$KEYS/kubelet.kubeconfig --hostname-override="$HOSTNAME" \
            --container-runtime=remote --container-runtime-endpoint=unix:///run/containerd/containerd.sock --node-ip="$(hostname -i)"
        ;;
    *) echo "machine.sh: no service $1" >&2; return 2 ;;
    esac
}

# By the program's file: the kernel keeps only 15 characters of a name.
processes() {
    local program="$1"
    if [ "$program" = registry ]; then program=docker-registry; fi
    pgrep -f "^([^ ]*/)?$program( |\$)"
}

gone() { ! processes "$1"; }

signal() { # signal, service
    local found
    found="$(processes "$2")" || return 0
    # shellcheck disable=SC2086 # one word each
    kill "-$1" $found
}

stop() { # service, [signal]
    signal "${2:-TERM}" "$1"
    until_true 30 gone "$1"
}

be() {
    local service
    case "$1" in
    ctl)
        install -d -m 700 $KEYS /var/lib/etcd
        keys
        for service in etcd kube-apiserver kube-controller-manager kube-scheduler registry; do start "$service"; done
        kubectl --kubeconfig=$KEYS/admin.kubeconfig apply -f /etc/bed/cluster.yaml
        ;;
    node)
        install -d -m 1777 /srv/shared
        mount --make-rshared /
        ip route add unreachable 169.254.0.0/16 # a kubelet asks clouds whether it is in them: no question leaves this machine
        mkfifo /dev/kmsg # and it reads what the kernel says, of everybody's processes: here, nothing
        exec 8<>/dev/kmsg
        spare_the_kernel
        make_groups
        sed -i "s/@/\/$GROUP/" /etc/bed/kubelet.yaml
        start containerd
        ctr -n k8s.io images import /etc/bed/pause.tar
        make_routes
        until_true 60 test -e $KEYS/complete
        start kubelet
        ;;
    esac
    touch /run/ready
    sleep infinity &
    wait # what daemons leave behind is reaped here
}

case "$1" in
kill) stop "$2" KILL ;;
pause) signal STOP "$2" ;;
resume) signal CONT "$2" ;;
*) "$@" ;;
esac
