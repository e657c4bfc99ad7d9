//! From the mock's own terms to those of Kubernetes, as every provider does it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mock_model::{ContainerState as Container, Exit, Kind, Phase, PodState, Run};
use vk_sdk::status::{self, ContainerState, ContainerStatus, PodIp, PodStatus};

/// The status of the pod with this uid, as JSON.
pub(crate) fn status(uid: &str, state: PodState) -> String {
    let (apps, inits): (Vec<_>, Vec<_>) =
        state.containers.into_iter().partition(|container| container.kind == Kind::App);
    let all = |containers: Vec<Container>| containers.into_iter().map(|each| container(uid, each)).collect();
    let status = PodStatus {
        phase: Some(match state.phase {
            Phase::Pending => status::Phase::Pending,
            Phase::Running => status::Phase::Running,
            Phase::Succeeded => status::Phase::Succeeded,
            Phase::Failed => status::Phase::Failed,
        }),
        reason: state.reason,
        message: None,
        pod_ips: state.ip.map(|ip| PodIp { ip }).into_iter().collect(),
        init_container_statuses: all(inits),
        container_statuses: all(apps),
    };
    status.to_json()
}

fn container(uid: &str, container: Container) -> ContainerStatus {
    let Container { name, image, kind, restarts, run, last } = container;
    let id = |run: u32| format!("mock://{uid}/{name}/{run}");
    let (running, waiting) = (matches!(run, Run::Running(_)), matches!(run, Run::Waiting(_)));
    let completed = kind == Kind::Init && matches!(&run, Run::Exited(exit) if exit.code == 0);
    // A container that waits to be started again still has the identity of the run that ended.
    let container_id = if waiting && last.is_none() { None } else { Some(id(restarts)) };
    let last_run = if waiting { restarts } else { restarts.saturating_sub(1) };
    ContainerStatus {
        state: match run {
            Run::Waiting(reason) => ContainerState::waiting(reason),
            Run::Running(since) => ContainerState::running(time(since)),
            Run::Exited(exit) => ended(exit, id(restarts)),
        },
        last_state: last.map(|exit| ended(exit, id(last_run))).unwrap_or_default(),
        ready: running || completed,
        started: running,
        restart_count: restarts,
        image_id: if waiting && container_id.is_none() { String::new() } else { format!("mock://{image}") },
        container_id,
        image,
        name,
    }
}

fn ended(exit: Exit, id: String) -> ContainerState {
    let mut state = ContainerState::terminated(exit.code, exit.reason, time(exit.started), time(exit.finished));
    if let Some(terminated) = &mut state.terminated {
        terminated.container_id = Some(id);
    }
    state
}

fn time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

#[cfg(test)]
mod tests {
    use mock_model::{Facts, Order};
    use serde_json::{Value, json};

    use super::*;

    const CREATED: u64 = 1_700_000_000_000;

    fn status_after(seconds: u64, annotations: Value) -> Value {
        let pod = json!({
            "metadata": {"uid": "u", "annotations": annotations},
            "spec": {
                "initContainers": [{"name": "i", "image": "x"}],
                "containers": [{"name": "c", "image": "y"}],
            },
        });
        let plan = Order::parse(&pod.to_string()).unwrap().plan;
        let facts = Facts { created: CREATED, ..Facts::default() };
        serde_json::from_str(&status("u", plan.state(&facts, CREATED + seconds * 1000))).unwrap()
    }

    #[test]
    fn a_running_pod_is_ready_with_all_that_kubernetes_shows() {
        let status = status_after(5, json!({"mock.vk-host.dev/pod-ip": "10.1.2.3"}));
        assert_eq!(status["phase"], "Running");
        assert_eq!(status["podIPs"], json!([{"ip": "10.1.2.3"}]));
        assert_eq!(
            status["containerStatuses"],
            json!([{
                "name": "c", "image": "y", "imageID": "mock://y", "containerID": "mock://u/c/0",
                "ready": true, "started": true, "restartCount": 0,
                "state": {"running": {"startedAt": "2023-11-14T22:13:20Z"}},
            }])
        );
        let init = &status["initContainerStatuses"][0];
        assert_eq!(init["state"]["terminated"]["reason"], "Completed");
        assert_eq!(init["ready"], true);
    }

    #[test]
    fn a_waiting_pod_has_neither_address_nor_identities() {
        let status = status_after(1, json!({"mock.vk-host.dev/start-after": "2s"}));
        assert_eq!(status["phase"], "Pending");
        assert_eq!(status.get("podIPs"), None);
        let container = &status["containerStatuses"][0];
        assert_eq!(container["state"], json!({"waiting": {"reason": "PodInitializing"}}));
        assert_eq!(container.get("containerID"), None);
        assert_eq!(container["imageID"], "");
    }

    #[test]
    fn each_run_of_a_container_has_an_identity_of_its_own() {
        let annotations = json!({
            "mock.vk-host.dev/run-for": "2s", "mock.vk-host.dev/exit-code": "3", "mock.vk-host.dev/restart-after": "2s",
        });
        let waiting = &status_after(3, annotations.clone())["containerStatuses"][0];
        assert_eq!(waiting["state"], json!({"waiting": {"reason": "CrashLoopBackOff"}}));
        assert_eq!(waiting["lastState"]["terminated"]["containerID"], "mock://u/c/0");
        assert_eq!(waiting["lastState"]["terminated"]["exitCode"], 3);
        assert_eq!(waiting["ready"], false);
        let again = &status_after(4, annotations)["containerStatuses"][0];
        assert_eq!(again["containerID"], "mock://u/c/1");
        assert_eq!(again["restartCount"], 1);
        assert_eq!(again["lastState"]["terminated"]["containerID"], "mock://u/c/0");
    }
}
