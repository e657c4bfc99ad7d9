//! Whether the run of a container that is followed still goes on.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus};

use super::Running;
use crate::{NodePod, Pods};

/// A predicate for the present run of a container: true until its status says that it has ended or was started again, or
/// until the node has the pod no more. A container that has not started yet counts as running.
pub fn run_of(pods: Arc<dyn Pods>, pod: &NodePod, container: &str) -> Running {
    let (id, container) = (pod.id.clone(), container.to_owned());
    let restarts = status_of(&pod.object, &container).map_or(0, |status| status.restart_count);
    Box::new(move || {
        pods.find(&id.namespace, &id.name)
            .is_some_and(|pod| pod.id.uid == id.uid && goes_on(&pod.object, &container, restarts))
    })
}

fn goes_on(pod: &Pod, container: &str, restarts: i32) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return false;
    }
    let Some(status) = status_of(pod, container) else { return true };
    let terminated = |state: &Option<ContainerState>| state.as_ref().is_some_and(|state| state.terminated.is_some());
    let waits = status.state.as_ref().is_some_and(|state| state.waiting.is_some());
    // One that waits to be started again has ended.
    let has_ended = terminated(&status.state) || (waits && terminated(&status.last_state));
    status.restart_count == restarts && !has_ended
}

fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    fn all(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
        [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses]
            .into_iter()
            .flatten()
            .flatten()
    }
    all(pod.status.as_ref()?).find(|status| status.name == container)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::{Value, json};
    use vk_provider::PodId;

    use super::*;

    /// A node with one pod, or none.
    struct Node(Mutex<Option<NodePod>>);

    impl Pods for Node {
        fn find(&self, namespace: &str, name: &str) -> Option<NodePod> {
            self.all().into_iter().find(|pod| pod.id.namespace == namespace && pod.id.name == name)
        }

        fn all(&self) -> Vec<NodePod> {
            self.0.lock().unwrap().iter().cloned().collect()
        }
    }

    fn pod(uid: &str, status: &Value) -> NodePod {
        let id = PodId { namespace: "default".into(), name: "web".into(), uid: uid.into(), handle: None };
        let object = json!({ "metadata": { "name": "web", "namespace": "default", "uid": uid }, "status": status });
        NodePod { id, object: Arc::new(serde_json::from_value(object).unwrap()) }
    }

    fn container(restarts: i32, state: &Value, last: &Value) -> Value {
        let status = json!({
            "name": "app", "restartCount": restarts, "state": state, "lastState": last,
            "image": "i", "imageID": "", "ready": false,
        });
        json!({ "phase": "Running", "containerStatuses": [status] })
    }

    #[test]
    fn a_run_goes_on_until_its_status_says_otherwise() {
        let running = || json!({ "running": {} });
        let terminated = || json!({ "terminated": { "exitCode": 0 } });
        let waiting = || json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        let none = || json!({});
        for (what, begun, now, goes_on) in [
            ("no status yet", none(), Some(none()), true),
            ("a first start", none(), Some(container(0, &running(), &none())), true),
            ("not started yet", none(), Some(container(0, &waiting(), &none())), true),
            ("running", container(2, &running(), &none()), Some(container(2, &running(), &terminated())), true),
            ("ended", container(2, &running(), &none()), Some(container(2, &terminated(), &none())), false),
            ("waits again", container(2, &running(), &none()), Some(container(2, &waiting(), &terminated())), false),
            ("started again", container(2, &running(), &none()), Some(container(3, &running(), &terminated())), false),
            ("the pod failed", container(0, &running(), &none()), Some(json!({ "phase": "Failed" })), false),
            ("the pod is gone", container(0, &running(), &none()), None, false),
        ] {
            let node = Arc::new(Node(Mutex::default()));
            let is_running = run_of(Arc::clone(&node) as Arc<dyn Pods>, &pod("1", &begun), "app");
            *node.0.lock().unwrap() = now.map(|status| pod("1", &status));
            assert_eq!(is_running(), goes_on, "{what}");
        }
    }

    #[test]
    fn a_new_pod_of_the_same_name_is_another_one() {
        let status = container(0, &json!({ "running": {} }), &json!({}));
        let node = Arc::new(Node(Mutex::new(Some(pod("1", &status)))));
        let is_running = run_of(Arc::clone(&node) as Arc<dyn Pods>, &pod("1", &status), "app");
        assert!(is_running());
        *node.0.lock().unwrap() = Some(pod("2", &status));
        assert!(!is_running());
    }
}
