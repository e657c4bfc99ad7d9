#!/usr/bin/env bash
# Shows vk-host at work on a real control plane and a simulated Azure: `demo.sh up` leaves all running, `demo.sh down`
# stops them. A second `up` keeps what runs, unless its program, the provider or the control plane is newer than it.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
vk_host=$target/debug/vk-host
vk_azure=$target/debug/vk-azure
vk_cluster=$target/debug/vk-cluster
providers=target/guests
node=virtual-kubelet
state=target/demo
azure=$state/azure
log=$state/vk-host.log
export KUBECONFIG=$PWD/target/cluster/kubeconfig
kubectl=target/cluster/bin/kubectl
pki=target/cluster/pki

say() { printf 'demo: %s\n' "$*"; }

# Runs a command, and shows it as one types it.
show() {
    local word
    printf '\n$ kubectl'
    for word; do
        case $word in *[!-_.,:=/[:alnum:]]*) printf ' %s' "${word@Q}" ;; *) printf ' %s' "$word" ;; esac
    done
    printf '\n'
    "$kubectl" "$@"
}

# The process id in the pid file of a program, if it is still that program's.
running() {
    local pid name
    [ -f "$state/$1.pid" ] || return 1
    pid=$(cat "$state/$1.pid")
    name=$(cat "/proc/$pid/comm" 2>/dev/null || ps -o comm= -p "$pid" 2>/dev/null) || return 1
    [ "${name##*/}" = "$1" ] || return 1
    echo "$pid"
}

# Stops a program, if it runs.
stop() {
    local pid
    pid=$(running "$1") || return 0
    say "stopping $1 (process $pid)"
    kill "$pid"
    for _ in $(seq 150); do
        running "$1" >/dev/null || { rm -f "$state/$1.pid"; return 0; }
        sleep 0.2
    done
    kill -KILL "$pid"
    rm -f "$state/$1.pid"
}

# Stops a program that is older than one of the files.
stop_older() {
    local name=$1 newer
    shift
    running "$name" >/dev/null || return 0
    for newer in "$@"; do
        if [ "$newer" -nt "$state/$name.pid" ]; then stop "$name"; return 0; fi
    done
}

# Starts a program in the background.
start() {
    local name=$1
    shift
    nohup "$@" >"$state/$name.log" 2>&1 </dev/null &
    echo $! >"$state/$name.pid"
}

# Ends with the last words of a program.
give_up() {
    say "$2; the end of the log of $1 ($state/$1.log):"
    tail -n 20 "$state/$1.log"
    exit 1
}

start_vk_azure() {
    say "starting vk-azure, which simulates Azure Container Instances (log: $state/vk-azure.log)"
    start vk-azure "$vk_azure" --state-dir "$azure" --listen 127.0.0.1:0 --listen-plain 127.0.0.1:0
    for _ in $(seq 150); do
        # The last that it says before it serves.
        if grep -q '^settings' "$state/vk-azure.log"; then return 0; fi
        running vk-azure >/dev/null || give_up vk-azure "vk-azure has ended"
        sleep 0.2
    done
    give_up vk-azure "vk-azure does not answer"
}

start_vk_host() {
    say "starting vk-host with the provider for Azure (log: $log)"
    # From --listen on it is for kubectl logs, exec and the like: where the API server finds the node, and how the two trust each other.
    VK_HOST_PROVIDERS=$providers start vk-host "$vk_host" --provider azure --provider-config "$azure/aci.toml" \
        --kubeconfig "$KUBECONFIG" --nodename "$node" \
        --listen 127.0.0.1:0 --address 127.0.0.1 --client-ca-file "$pki/ca.crt" \
        --tls-cert-file "$pki/kubelet-serving.crt" --tls-private-key-file "$pki/kubelet-serving.key"
}

# Waits for what kubectl wait waits for, but no longer than vk-host lives.
await() {
    for _ in $(seq 24); do
        if "$kubectl" wait --timeout=5s "$@" >/dev/null 2>&1; then return 0; fi
        running vk-host >/dev/null || give_up vk-host "vk-host has ended"
        say "still waiting for: $*"
    done
    give_up vk-host "gave up"
}

up() {
    mkdir -p "$state"
    "$vk_cluster" up >/dev/null
    # Container groups of an earlier control plane are not its.
    stop_older vk-azure "$vk_azure" "$KUBECONFIG"
    if running vk-azure >/dev/null; then say "vk-azure runs already (process $(running vk-azure))"; else start_vk_azure; fi
    stop_older vk-host "$vk_host" "$providers/aci.wasm" "$providers/aci.toml" "$azure/aci.toml" "$KUBECONFIG"
    if running vk-host >/dev/null; then say "vk-host runs already (process $(running vk-host))"; else start_vk_host; fi
    say "waiting for node $node to be Ready"
    await --for=create "node/$node"
    await --for=condition=Ready "node/$node"

    say "applying tests/demo.yaml: a Deployment of three pods, and a pod with a public address"
    show apply -f tests/demo.yaml
    "$kubectl" rollout status deployment/web --timeout=120s || give_up vk-host "the pods do not run"
    await --for=condition=Ready pod/public
    show get nodes,pods -o wide
    show logs deployment/web --tail=3
    say "the exit code of a command is its own, here 3:"
    show exec deployment/web -- sh -c 'echo "process $$ of a container"; exit 3' || say "exit code $?"
    show scale deployment/web --replicas=5
    "$kubectl" rollout status deployment/web --timeout=120s || give_up vk-host "the pods do not run"
    show get pods -o wide
    show delete pod public
    cat <<EOF

Go on by hand:
  export KUBECONFIG=$KUBECONFIG
  export PATH=$PWD/target/cluster/bin:\$PATH
  kubectl scale deployment/web --replicas=10
  kubectl get pods -o wide --watch
  kubectl logs deployment/web --follow
  kubectl exec -it deployment/web -- sh
  kubectl describe node $node
  tail -f $PWD/$log
What Azure was asked:
  curl $(sed -n 's/^metadata service and control: *//p' "$state/vk-azure.log")/control/requests
Stop everything: ./just demo-down
EOF
}

down() {
    stop vk-host
    stop vk-azure
    "$vk_cluster" down
}

case ${1:-} in
    up) up ;;
    down) down ;;
    *) echo "usage: demo.sh up|down" >&2; exit 2 ;;
esac
