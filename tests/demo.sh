#!/usr/bin/env bash
# Shows vk-host at work on a real control plane: `demo.sh up` leaves both running, `demo.sh down` stops them.
# A second `up` keeps what runs, unless vk-host, the provider or the control plane is newer than the running process.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
vk_host=$target/debug/vk-host
vk_cluster=$target/debug/vk-cluster
provider=target/guests/mock.wasm
settings=guests/mock/mock.toml
node=virtual-kubelet
pid_file=target/demo/vk-host.pid
log=target/demo/vk-host.log
export KUBECONFIG=$PWD/target/cluster/kubeconfig
kubectl=target/cluster/bin/kubectl
pki=target/cluster/pki

say() { printf 'demo: %s\n' "$*"; }

# The process id in the pid file, if it is still vk-host's.
running() {
    local pid name
    [ -f "$pid_file" ] || return 1
    pid=$(cat "$pid_file")
    name=$(cat "/proc/$pid/comm" 2>/dev/null || ps -o comm= -p "$pid" 2>/dev/null) || return 1
    [ "${name##*/}" = vk-host ] || return 1
    echo "$pid"
}

stop_vk_host() {
    local pid
    pid=$(running) || return 0
    say "stopping vk-host (process $pid)"
    kill "$pid"
    for _ in $(seq 150); do
        running >/dev/null || { rm -f "$pid_file"; return 0; }
        sleep 0.2
    done
    kill -KILL "$pid"
    rm -f "$pid_file"
}

start_vk_host() {
    mkdir -p target/demo
    say "starting vk-host with $provider (log: $log)"
    # From --listen on it is for kubectl logs, exec and the like: where the API server finds the node, and how the two trust each other.
    nohup "$vk_host" --provider-wasm "$provider" --provider-config "$settings" \
        --kubeconfig "$KUBECONFIG" --nodename "$node" \
        --listen 127.0.0.1:0 --address 127.0.0.1 --client-ca-file "$pki/ca.crt" \
        --tls-cert-file "$pki/kubelet-serving.crt" --tls-private-key-file "$pki/kubelet-serving.key" \
        >"$log" 2>&1 </dev/null &
    echo $! >"$pid_file"
}

# Waits for what kubectl wait waits for, but no longer than vk-host lives.
await() {
    for _ in $(seq 24); do
        if "$kubectl" wait --timeout=5s "$@" >/dev/null 2>&1; then return 0; fi
        if ! running >/dev/null; then
            say "vk-host has ended; the end of its log:"
            tail -n 20 "$log"
            exit 1
        fi
        say "still waiting for: $*"
    done
    say "gave up; the end of vk-host's log ($log):"
    tail -n 20 "$log"
    exit 1
}

up() {
    "$vk_cluster" up >/dev/null
    if running >/dev/null; then
        for newer in "$vk_host" "$provider" "$settings" "$KUBECONFIG"; do
            if [ "$newer" -nt "$pid_file" ]; then stop_vk_host; break; fi
        done
    fi
    if running >/dev/null; then say "vk-host runs already (process $(running))"; else start_vk_host; fi
    say "waiting for node $node to be Ready"
    await --for=create "node/$node"
    await --for=condition=Ready "node/$node"
    say "applying tests/demo.yaml: a Deployment of three pods"
    "$kubectl" apply -f tests/demo.yaml
    "$kubectl" rollout status deployment/web --timeout=120s || { tail -n 20 "$log"; exit 1; }
    echo
    "$kubectl" get nodes,pods -o wide
    cat <<EOF

Go on by hand:
  export KUBECONFIG=$KUBECONFIG
  export PATH=$PWD/target/cluster/bin:\$PATH
  kubectl scale deployment/web --replicas=10
  kubectl get pods -o wide --watch
  kubectl logs deployment/web --tail=5
  kubectl exec -it deployment/web -- sh
  kubectl describe node $node
  tail -f $PWD/$log
Stop everything: ./just demo-down
EOF
}

down() {
    stop_vk_host
    "$vk_cluster" down
}

case ${1:-} in
    up) up ;;
    down) down ;;
    *) echo "usage: demo.sh up|down" >&2; exit 2 ;;
esac
