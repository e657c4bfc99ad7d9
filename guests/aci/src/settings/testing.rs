//! Settings for tests of what is done with them.

use super::*;

/// With a service principal; everything is at `*.test`.
pub(crate) fn principal() -> Settings {
    Settings {
        owner: "own".into(),
        node_name: "node".into(),
        operating_system: OperatingSystem::Linux,
        subscription: "sub".into(),
        resource_group: "rg".into(),
        region: "westeurope".into(),
        capacity: Capacity { cpu: "10".into(), memory: "1Ti".into(), pods: "50".into(), gpu: None },
        identity: Identity::ServicePrincipal {
            tenant: "ten".into(),
            client_id: "cli".into(),
            secret: Secret("hunter2&+".into()),
            version: TokenVersion::V2,
        },
        endpoints: Endpoints {
            directory: "https://login.test".into(),
            resource_manager: "https://arm.test".into(),
            metadata: "http://169.254.169.254".into(),
            realtime: "http://{ip}:18899".into(),
        },
        network: None,
        public_ip: true,
        log_analytics: None,
        realtime_metrics: false,
        monitor_metrics: false,
        gpu_skus: Vec::new(),
        api_version: API_VERSION.into(),
        user_agent: USER_AGENT.into(),
    }
}

/// With the identity of the machine, or one that it was given.
pub(crate) fn managed(client_id: Option<&str>) -> Settings {
    Settings { identity: Identity::Managed { client_id: client_id.map(str::to_owned) }, ..principal() }
}
