//! The flags of each component.

use std::path::Path;

use crate::cluster::Options;
use crate::pki::Pki;

/// etcd, on one port for its clients and one for its peers.
pub(crate) fn etcd(data: &Path, port: u16, peer: u16) -> Vec<String> {
    let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
    vec![
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        // Nothing is to survive the machine.
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
    ]
}

/// kube-apiserver on `port`, with etcd on another.
pub(crate) fn apiserver(options: &Options, pki: &Pki, port: u16, etcd: u16) -> Vec<String> {
    let file = |name: &str| pki.path(name).display().to_string();
    let mut arguments = vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        format!("--secure-port={port}"),
        "--bind-address=127.0.0.1".into(),
        // Of the addresses for documentation: without one the API server wants a default route.
        "--advertise-address=192.0.2.1".into(),
        "--endpoint-reconciler-type=none".into(),
        format!("--tls-cert-file={}", file("serving.crt")),
        format!("--tls-private-key-file={}", file("serving.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--requestheader-client-ca-file={}", file("front-proxy-ca.crt")),
        "--requestheader-allowed-names=front-proxy-client".into(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
        "--requestheader-group-headers=X-Remote-Group".into(),
        "--requestheader-username-headers=X-Remote-User".into(),
        format!("--proxy-client-cert-file={}", file("front-proxy-client.crt")),
        format!("--proxy-client-key-file={}", file("front-proxy-client.key")),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        "--api-audiences=api".into(),
        "--service-cluster-ip-range=10.0.0.0/24".into(),
        "--allow-privileged=true".into(),
        "--max-requests-inflight=800".into(),
        "--max-mutating-requests-inflight=400".into(),
        "--kubelet-preferred-address-types=InternalIP,Hostname".into(),
        format!("--kubelet-client-certificate={}", file("kubelet-client.crt")),
        format!("--kubelet-client-key={}", file("kubelet-client.key")),
        "--profiling=false".into(),
        "-v=1".into(),
    ];
    if options.kubelet_authority {
        arguments.push(format!("--kubelet-certificate-authority={}", file("ca.crt")));
    }
    if !options.controller_manager {
        // The plugin would refuse every pod, because nobody makes the default ServiceAccount.
        arguments.push("--disable-admission-plugins=ServiceAccount".into());
    }
    arguments.extend(feature_gates(options));
    arguments.extend(options.apiserver_flags.iter().cloned());
    arguments
}

/// kube-controller-manager, which has no port: nobody asks for its health or metrics.
pub(crate) fn controller_manager(options: &Options, pki: &Pki, kubeconfig: &Path) -> Vec<String> {
    let file = |name| pki.path(name).display().to_string();
    let mut arguments = client(kubeconfig, options);
    arguments.extend([
        format!("--service-account-private-key-file={}", file("sa.key")),
        format!("--root-ca-file={}", file("ca.crt")),
        // It signs what is approved, kubelets' serving certificates among it.
        format!("--cluster-signing-cert-file={}", file("ca.crt")),
        format!("--cluster-signing-key-file={}", file("ca.key")),
        "--use-service-account-credentials".into(),
        "--secure-port=0".into(),
        "--controllers=*,-cloud-node-lifecycle-controller".into(),
    ]);
    arguments.extend(options.controller_manager_flags.iter().cloned());
    arguments
}

/// kube-scheduler on `port`.
pub(crate) fn scheduler(options: &Options, pki: &Pki, kubeconfig: &Path, port: u16) -> Vec<String> {
    let mut arguments = client(kubeconfig, options);
    arguments.extend([
        format!("--secure-port={port}"),
        format!("--tls-cert-file={}", pki.path("serving.crt").display()),
        format!("--tls-private-key-file={}", pki.path("serving.key").display()),
    ]);
    arguments
}

/// What the controller manager and the scheduler have in common.
fn client(kubeconfig: &Path, options: &Options) -> Vec<String> {
    let mut arguments = vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--leader-elect=false".into(),
        "--bind-address=127.0.0.1".into(),
        // The defaults of 20 and 50 requests a second would be what a test of many pods measures.
        "--kube-api-qps=400".into(),
        "--kube-api-burst=800".into(),
    ];
    arguments.extend(feature_gates(options));
    arguments
}

fn feature_gates(options: &Options) -> Option<String> {
    let gates: Vec<String> = options.feature_gates.iter().map(|(name, on)| format!("{name}={on}")).collect();
    (!gates.is_empty()).then(|| format!("--feature-gates={}", gates.join(",")))
}
