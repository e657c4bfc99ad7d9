//! What has been done to pods, and doing it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::{
    Api, Error,
    api::{DeleteParams, EvictParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use vk_e2e::{Env, PodBuilder, Setup, uid};

use super::{
    plan::OBJECTS,
    step::{Deletion, Disturbance, Kind, Step},
};
use crate::replacement::another_build;

/// What became of a pod.
pub(super) struct Fate {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) deleted: bool,
    /// How often the backend was told to lose it.
    pub(super) losses: u64,
    /// The act in which it was made.
    made_in: u32,
    /// The act in which vk-host was killed, perhaps before it had noted what it had sent. Another process takes the pod for
    /// what it finds, so that an edit in between reaches the provider with the next one only.
    unnoted_in: Option<u32>,
}

impl Fate {
    /// Whether the provider must have been told all edits.
    pub(super) fn is_noted(&self) -> bool {
        self.unnoted_in.is_none()
    }

    fn edited(&mut self, act: u32) {
        self.unnoted_in = self.unnoted_in.filter(|unnoted_in| *unnoted_in == act);
    }
}

/// Everything that was done.
pub(super) struct World {
    setup: Setup,
    component: Vec<u8>,
    /// The uids of pods that are there, by name.
    pods: BTreeMap<String, String>,
    /// By uid.
    pub(super) fates: BTreeMap<String, Fate>,
    /// What was written last into the ConfigMap or Secret of that name.
    pub(super) contents: BTreeMap<String, String>,
    /// What has happened at least once.
    happened: BTreeSet<Disturbance>,
    edits: u32,
    act: u32,
}

/// The annotations and fields that make a pod live so.
fn pod(env: &Env, name: &str, kind: Kind) -> PodBuilder {
    let policy = |policy: &str| json!({"restartPolicy": policy});
    let pod = env.pod(name);
    match kind {
        Kind::Server => pod,
        Kind::Reader(number) => pod
            .mounts("map", json!({"configMap": {"name": format!("map-{number}")}}))
            .mounts("secret", json!({"secret": {"secretName": format!("secret-{number}")}})),
        Kind::Once => pod.spec(policy("Never")),
        Kind::Slow => pod.asks("start-after", "1s").asks("stop-after", "3s"),
        Kind::Task(code) => pod.spec(policy("Never")).asks("run-for", "2s").asks("exit-code", &code.to_string()),
        Kind::Flaky => {
            let pod = pod.spec(policy("OnFailure")).asks("run-for", "500ms").asks("exit-code", "1");
            pod.asks("restarts", "2").asks("restart-after", "500ms")
        }
        Kind::Refused(error) => pod.asks("reject", error).asks("reject-times", "1").asks("retry-after", "1s"),
    }
}

/// An answer that is as good as success where others act on the same objects.
fn tolerated(outcome: Result<(), Error>) -> Result<()> {
    match outcome {
        Err(Error::Api(status)) if status.is_not_found() || status.is_already_exists() => Ok(()),
        outcome => Ok(outcome?),
    }
}

impl World {
    /// Makes what pods refer to.
    pub(super) async fn new(env: &Env, setup: Setup) -> Result<Self> {
        let component = std::fs::read(env.component())?;
        let mut world = Self {
            setup,
            component,
            pods: BTreeMap::new(),
            fates: BTreeMap::new(),
            contents: BTreeMap::new(),
            happened: BTreeSet::new(),
            edits: 0,
            act: 0,
        };
        for number in 0..OBJECTS {
            let (map, secret) = (format!("map-{number}"), format!("secret-{number}"));
            env.kubectl(&["create", "configmap", &map, "--from-literal=value=0"]).await?;
            env.kubectl(&["create", "secret", "generic", &secret, "--from-literal=value=0"]).await?;
            world.contents.extend([(map, "0".to_owned()), (secret, "0".to_owned())]);
        }
        Ok(world)
    }

    /// All that is done from here on belongs to another act.
    pub(super) fn next_act(&mut self) {
        self.act += 1;
    }

    /// What has not happened yet.
    pub(super) fn outstanding(&self) -> Vec<Disturbance> {
        Disturbance::ALL.into_iter().filter(|disturbance| !self.happened.contains(disturbance)).collect()
    }

    /// Carries out a step.
    ///
    /// # Errors
    ///
    /// If it cannot be done; not if the pod that it is about has gone meanwhile.
    pub(super) async fn perform(&mut self, env: &mut Env, step: &Step) -> Result<()> {
        match step {
            Step::Create(name, kind) => self.create(env, name, *kind).await?,
            Step::CreateJob(name) => create_job(env, name).await?,
            Step::Label(name) => {
                let patch = json!({"metadata": {"labels": {"edited": self.edit()}}});
                let labelled = env.pods().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
                tolerated(labelled.map(drop))?;
                if let Some(fate) = self.pods.get(name).and_then(|uid| self.fates.get_mut(uid)) {
                    fate.edited(self.act);
                }
            }
            Step::EditConfigMap(number) => {
                let name = format!("map-{number}");
                let patch = Patch::Merge(json!({"data": {"value": self.edit_of(&name)}}));
                let maps: Api<ConfigMap> = Api::namespaced(env.client.clone(), &env.namespace);
                maps.patch(&name, &PatchParams::default(), &patch).await?;
                self.edited_for_readers(*number);
            }
            Step::EditSecret(number) => {
                let name = format!("secret-{number}");
                let patch = Patch::Merge(json!({"stringData": {"value": self.edit_of(&name)}}));
                let secrets: Api<Secret> = Api::namespaced(env.client.clone(), &env.namespace);
                secrets.patch(&name, &PatchParams::default(), &patch).await?;
                self.edited_for_readers(*number);
            }
            Step::Delete(name, how) => match self.pods.remove(name) {
                Some(uid) => self.delete(env, name, &uid, *how).await?,
                // It was not made, because of its predecessor.
                None => return Ok(()),
            },
            Step::Meddle(name) => {
                let wrong = json!({"status": {
                    "phase": "Pending",
                    "conditions": [{"type": "Ready", "status": "False", "reason": "Meddled"}],
                }});
                let patch: Patch<Value> = Patch::Strategic(wrong);
                tolerated(env.pods().patch_status(name, &PatchParams::default(), &patch).await.map(drop))?;
            }
            Step::Lose(name) => {
                if let Some(uid) = self.pods.get(name)
                    && env.backend.remove(uid)
                    && let Some(fate) = self.fates.get_mut(uid)
                {
                    fate.losses += 1;
                }
            }
            Step::Finish(name) => {
                if let Some(uid) = self.pods.get(name) {
                    env.backend.finish(uid, 3, Some("OOMKilled"));
                }
            }
            Step::KillHost => {
                env.kill9().await?;
                self.host_ended();
            }
            Step::StopHost => {
                let status = env.sigterm().await?;
                ensure!(status.code() == Some(0), "vk-host ended with {status}");
                self.host_ended();
            }
            Step::StartHost => env.launch_again()?,
            Step::FreezeHost => env.vk_host()?.freeze(),
            Step::ThawHost => env.vk_host()?.thaw(),
            Step::Break(fault) => drop(env.backend.fault(fault.clone())),
            Step::Mend => env.backend.clear_faults(),
            Step::StopBackend => env.backend.stop().await,
            Step::StartBackend => env.backend.restart().await?,
            Step::StopApiServer => env.cluster.stop_apiserver().await,
            Step::StartApiServer => env.cluster.start_apiserver().await?,
            Step::ReplaceComponent(number) => {
                env.replace("mock.wasm", another_build(&self.component, &format!("chaos-{number}")))?;
            }
            Step::ReplaceSettings(number) => env.configure(&self.setup.clone().pods(2_000 + number))?,
        }
        self.happened.extend(step.disturbance());
        Ok(())
    }

    async fn create(&mut self, env: &Env, name: &str, kind: Kind) -> Result<()> {
        let made = env.pods().create(&PostParams::default(), &pod(env, name, kind).build()?).await;
        let made = match made {
            // One of that name is still on its way out.
            Err(Error::Api(status)) if status.is_already_exists() => return Ok(()),
            made => uid(&made?),
        };
        self.pods.insert(name.to_owned(), made.clone());
        let fate = Fate { name: name.to_owned(), kind, deleted: false, losses: 0, made_in: self.act, unnoted_in: None };
        self.fates.insert(made, fate);
        Ok(())
    }

    async fn delete(&mut self, env: &Env, name: &str, uid: &str, how: Deletion) -> Result<()> {
        let pods: Api<Pod> = env.pods();
        let graceful = DeleteParams::default();
        match how {
            Deletion::Graceful => tolerated(pods.delete(name, &graceful).await.map(drop))?,
            Deletion::Forced => tolerated(pods.delete(name, &graceful.grace_period(0)).await.map(drop))?,
            Deletion::Shortened => {
                tolerated(pods.delete(name, &graceful).await.map(drop))?;
                tolerated(pods.delete(name, &DeleteParams::default().grace_period(1)).await.map(drop))?;
            }
            Deletion::Evicted => tolerated(pods.evict(name, &EvictParams::default()).await.map(drop))?,
        }
        self.fates.get_mut(uid).context("every pod has its fate")?.deleted = true;
        Ok(())
    }

    fn host_ended(&mut self) {
        for fate in self.fates.values_mut().filter(|fate| fate.made_in == self.act) {
            fate.unnoted_in = Some(self.act);
        }
    }

    fn edited_for_readers(&mut self, number: u32) {
        for fate in self.fates.values_mut().filter(|fate| fate.kind == Kind::Reader(number)) {
            fate.edited(self.act);
        }
    }

    fn edit(&mut self) -> String {
        self.edits += 1;
        self.edits.to_string()
    }

    fn edit_of(&mut self, object: &str) -> String {
        let content = self.edit();
        self.contents.insert(object.to_owned(), content.clone());
        content
    }
}

async fn create_job(env: &Env, name: &str) -> Result<()> {
    env.apply(&format!(
        "
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  completions: 2
  parallelism: 2
  template:
    metadata: {{annotations: {{mock.vk-host.dev/run-for: 1s}}}}
    spec:
      nodeName: '{{node}}'
      restartPolicy: Never
      automountServiceAccountToken: false
      containers: [{{name: main, image: 'registry.example.com/work:1'}}]
"
    ))
    .await
}
