//! A Docker host in memory, and a driver that deploys to it as the real one does: observe, plan, advance, apply.
//!
//! It can be cut off before or after any effect, and in the middle of those that have one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bowline_core::compose::desired::{DeployImage, Desired, ServiceWish, Wishes, describe};
use bowline_core::compose::model::Model;
use bowline_core::compose::observed::{Container, HostImage, Observed};
use bowline_core::compose::placement::place;
use bowline_core::compose::planning::file::kept;
use bowline_core::compose::planning::{Action, NamedImage, plan, traces};
use bowline_core::digest::Digest;
use bowline_core::event::RunId;
use bowline_core::health::{Cause, CheckStatus, ProcessState, Sighting};
use bowline_core::image::{ImageId, Platform};
use bowline_core::journal::{Intent, Traces};
use bowline_core::plan::{Precondition, Step};
use bowline_core::release::{Revision, Spec, SpecFile};
use bowline_core::rollout::{Command, Input, Rollout, Verdict};

pub const SERVICES: [&str; 3] = ["db", "api", "web"];

/// The file that some releases have.
const EXTRA: &str = "extra.conf";

fn users_file() -> Digest {
    Digest::of(b"the user's")
}

/// The version of every image that never comes up.
pub const BROKEN: u8 = 9;

/// A release: which version of each service's image, and of each definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimRelease {
    pub images: [u8; 3],
    pub definitions: [u8; 3],
}

impl SimRelease {
    /// Some releases have one more service, and one more file.
    fn has_extra(&self) -> bool {
        self.definitions[0] == 2
    }
}

/// When the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Before,
    Begun,
    Halfway,
    After,
}

#[derive(Debug, Clone, Default)]
pub struct World {
    next_id: u64,
    clock: u64,
    containers: Vec<Container>,
    images: BTreeMap<Digest, BTreeSet<String>>,
    files: BTreeMap<String, Digest>,
    /// What each container was really made from: not visible to the planner.
    made: BTreeMap<String, (String, Digest, Digest)>,
    pub revisions: Vec<(Revision, SimRelease)>,
    pub journal: bool,
    /// What runs that have not ended wrote into the journal.
    intents: Vec<Intent>,
    pub effects: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Done { actions: usize },
    PutBack,
    Stranded,
    CutOff,
}

fn image_of(service: usize, version: u8) -> ImageId {
    let name = format!("{service}-{version}");
    ImageId {
        manifest: Digest::of(format!("m{name}").as_bytes()),
        config: Digest::of(format!("c{name}").as_bytes()),
        platform: Platform::linux("x86_64"),
    }
}

/// A release's images, by our services' names.
pub fn images(release: &SimRelease) -> BTreeMap<String, DeployImage> {
    let image = |(index, name): (usize, &&str)| {
        let version = release.images[index];
        let keep = format!("docker.io/reg/app:{name}_v{version}");
        let id = image_of(index, version);
        (
            (*name).to_owned(),
            DeployImage::Released { id, size: None, layers: BTreeMap::new(), keep, healthcheck: false },
        )
    };
    SERVICES.iter().enumerate().map(image).collect()
}

pub fn desired(release: &SimRelease) -> Desired {
    desired_of(release, &images(release))
}

/// A release's files with these images.
pub fn desired_of(release: &SimRelease, images: &BTreeMap<String, DeployImage>) -> Desired {
    let mut services = serde_json::Map::new();
    for (index, name) in SERVICES.iter().enumerate() {
        let mut service = serde_json::json!({
            "image": format!("app-{name}"), "environment": {"D": release.definitions[index]},
            "healthcheck": {"test": ["CMD", "true"]},
        });
        if index > 0 {
            service["depends_on"] =
                serde_json::json!({SERVICES[index - 1]: {"condition": "service_healthy"}});
        }
        services.insert((*name).to_owned(), service);
    }
    if release.has_extra() {
        let extra = serde_json::json!({"image": "app-db", "ports": [{"target": 80, "published": "80"}]});
        services.insert("extra".to_owned(), extra);
    }
    let model = Model::parse(serde_json::json!({ "services": services }), "", "").unwrap();
    let content = format!("{:?}", release.definitions).into_bytes();
    let mut files = BTreeMap::from([("compose.yaml".to_owned(), SpecFile { executable: false, content })]);
    if release.has_extra() {
        let content = format!("extra {}", release.definitions[1]).into_bytes();
        files.insert(EXTRA.to_owned(), SpecFile { executable: false, content });
    }
    let wish = |name: &&str| {
        let images = vec![format!("app-{name}").parse().unwrap()];
        ((*name).to_owned(), ServiceWish { images, ..Default::default() })
    };
    let wishes = Wishes {
        project: "app".into(),
        directory: "/srv/app".into(),
        services: SERVICES.iter().map(wish).collect(),
        start: Duration::from_secs(30),
        restarts: 3,
        settle: Duration::from_secs(5),
    };
    describe(&model, images, &Spec { files }, None, &wishes)
}

impl World {
    /// A world in whose directory somebody keeps a file of the name that some releases bring.
    pub fn with_users_file() -> Self {
        Self { files: BTreeMap::from([(EXTRA.to_owned(), users_file())]), ..Self::default() }
    }

    fn newest(&self) -> Option<u64> {
        self.revisions.last().map(|(revision, _)| revision.number)
    }

    pub fn observe(&self) -> Observed {
        let image = |(id, names): (&Digest, &BTreeSet<String>)| HostImage {
            id: *id,
            names: names.clone(),
            manifests: BTreeSet::new(),
            repositories: BTreeSet::new(),
            size: 0,
        };
        Observed {
            containers: self.containers.clone(),
            images: self.images.iter().map(image).collect(),
            files: self.files.clone(),
            revision: self.revisions.last().map(|(revision, _)| revision.clone()),
            traces: Traces::of(&self.intents, self.newest()),
            ..Default::default()
        }
    }

    /// One effect; `cut` says whether and when the power goes in it. False: it went.
    fn effect(
        &mut self,
        cut: Option<Moment>,
        half: impl FnOnce(&mut Self),
        whole: impl FnOnce(&mut Self),
    ) -> bool {
        self.effects += 1;
        match cut {
            Some(Moment::Before) => {}
            Some(Moment::Begun | Moment::Halfway) => half(self),
            Some(Moment::After) => whole(self),
            None => {
                whole(self);
                return true;
            }
        }
        false
    }

    /// Makes a container, which is not started yet where it has a passing name.
    fn create(&mut self, service: &str, desired: &Desired, passing: Option<&str>) {
        self.next_id += 1;
        let wanted = &desired.services[service];
        let image = self
            .images
            .iter()
            .find(|(_, names)| names.contains(&wanted.image_name))
            .map(|(id, _)| *id)
            .expect("compose finds the image by its name");
        let id = format!("{:012x}", self.next_id);
        let name = format!("app-{service}-1");
        // Compose reads the file that lies there, whatever the plan says.
        let file = self.files["compose.yaml"];
        self.made.insert(id.clone(), (service.to_owned(), image, file));
        self.containers.push(Container {
            id,
            name: passing.map_or(name.clone(), |old| format!("{old}_{name}")),
            service: service.to_owned(),
            number: 1,
            one_off: false,
            image,
            state: if passing.is_some() { ProcessState::Created } else { ProcessState::Running },
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            restarts: 0,
            check: Some(CheckStatus::Starting),
            started_at: String::new(),
            config_hash: String::new(),
            working_dir: String::new(),
            config_files: vec![],
            ports: wanted.model.host_ports().collect(),
            addresses: vec![],
            restart: "always".into(),
        });
    }

    fn apply(&mut self, step: &Step<Action>, desired: &Desired, cut: Option<Moment>) -> bool {
        let service = step.subject.clone();
        if let Precondition::Containers(expected) = &step.expect {
            let there: BTreeSet<String> =
                self.containers.iter().filter(|c| c.service == service).map(|c| c.id.clone()).collect();
            assert_eq!(&there, expected, "nobody else changes this target");
        }
        match &step.action {
            Action::Pull { image } => {
                let id = image.config;
                self.effect(
                    cut,
                    |_| (),
                    |world| {
                        world.images.entry(id).or_default();
                    },
                )
            }
            Action::Name { image, names } => {
                let id = match image {
                    NamedImage::Released(id) => id.config,
                    NamedImage::Engine(id) => *id,
                };
                let give = |world: &mut Self, count: usize| {
                    for name in names.iter().take(count) {
                        world.images.values_mut().for_each(|names| {
                            names.remove(name);
                        });
                        world.images.get_mut(&id).expect("pulled").insert(name.clone());
                    }
                };
                self.effect(cut, |world| give(world, 1), |world| give(world, usize::MAX))
            }
            Action::WriteFiles { files, edited, stale, restored } => {
                let begin = |world: &mut Self| {
                    for path in edited {
                        world.files.insert(kept(path), world.files[path]);
                    }
                    if cut != Some(Moment::Begun) {
                        world.files.extend(files.clone());
                    }
                };
                self.effect(cut, begin, |world| {
                    begin(world);
                    world.files.retain(|path, _| !stale.contains(path));
                    for path in restored {
                        let file = world.files.remove(&kept(path)).expect("what is put back was kept");
                        world.files.insert(path.clone(), file);
                    }
                })
            }
            Action::Recreate { .. } => self.recreate(&service, desired, cut),
            Action::Start { .. } => self.effect(
                cut,
                |_| (),
                |world| {
                    for container in world.containers.iter_mut().filter(|c| c.service == service) {
                        container.state = ProcessState::Running;
                    }
                },
            ),
            Action::Remove { containers } => {
                let gone = containers.clone();
                self.effect(cut, |_| (), |world| world.containers.retain(|c| !gone.contains(&c.id)))
            }
            Action::PullNamed { .. } => panic!("all images are ours here"),
        }
    }

    /// As Compose does it: the new one beside the old one, the old one away, the new one gets its name.
    fn recreate(&mut self, service: &str, desired: &Desired, cut: Option<Moment>) -> bool {
        let own = self.containers.iter().filter(|c| c.service == service);
        let old: Vec<String> = own.map(|c| c.id.clone()).collect();
        assert!(old.len() < 2, "compose replaces both at the same time: they quarrel over the name");
        let passing = old.first().map(String::as_str);
        let remove = |world: &mut Self| world.containers.retain(|c| !old.contains(&c.id));
        let half = |world: &mut Self| {
            world.create(service, desired, passing);
            if cut == Some(Moment::Halfway) {
                remove(world);
            }
        };
        self.effect(cut, half, |world| {
            remove(world);
            world.create(service, desired, None);
        })
    }

    fn sightings(&mut self, service: &str) -> Vec<Sighting> {
        let index = SERVICES.iter().position(|name| *name == service).unwrap_or(0);
        let never_up = image_of(index, BROKEN).config;
        let containers = self.containers.iter_mut().filter(|c| c.service == service);
        containers
            .map(|container| {
                if container.image == never_up {
                    container.state = ProcessState::Exited;
                    container.exit_code = 127;
                } else {
                    container.check = Some(CheckStatus::Healthy);
                }
                assert!(!container.has_passing_name(), "{container:?}");
                Sighting {
                    container: container.id.clone(),
                    state: container.state,
                    exit_code: container.exit_code,
                    oom_killed: false,
                    error: String::new(),
                    restarts: 0,
                    check: container.check,
                    probe: None,
                    up: Duration::from_secs(1),
                    restarted_by_engine: true,
                    log: vec![],
                }
            })
            .collect()
    }

    /// Drives one plan. `None`: the power went.
    fn roll(
        &mut self,
        release: &SimRelease,
        back: bool,
        cut: &mut Option<(usize, Moment)>,
    ) -> Option<(Verdict, usize)> {
        let desired = Desired { back, ..desired(release) };
        let plan = plan(&self.observe(), &desired).unwrap();
        let actions = plan.steps.len();
        let mut rollout = Rollout::new(&plan);
        let mut inputs = vec![Input::Tick];
        loop {
            self.clock += 1;
            let input = inputs.pop().unwrap_or(Input::Tick);
            for command in rollout.advance(Duration::from_secs(self.clock), input) {
                match command {
                    Command::Execute(id) => {
                        let step = plan.step(&id).unwrap();
                        let now = take_cut(cut);
                        if !self.apply(step, &desired, now) {
                            return None;
                        }
                        inputs.push(Input::StepDone(id));
                    }
                    Command::Report { .. } => {}
                    Command::Finish(verdict) => return Some((verdict, actions)),
                }
            }
            if inputs.is_empty() {
                let watched: Vec<String> = rollout.watched().into_iter().map(str::to_owned).collect();
                for service in watched {
                    let sightings = self.sightings(&service);
                    inputs.push(Input::Seen(service, sightings));
                }
            }
        }
    }

    fn commit(&mut self, release: &SimRelease) {
        let desired = desired(release);
        let placement = place(&desired, &images(release), &self.containers, None);
        let revision = Revision {
            number: self.revisions.len() as u64 + 1,
            release: Some("v1.0.0-abcdef1".into()),
            verb: "deploy".into(),
            at: "2026-11-22T10:00:00Z".parse().unwrap(),
            run: RunId::from("r".to_owned()),
            by: "t".into(),
            spec: Digest::of(b""),
            files: placement.files,
            images: placement.images,
            services: placement.services,
            milliseconds: 0,
        };
        self.revisions.push((revision, release.clone()));
    }

    fn clear_journal(&mut self) {
        self.journal = false;
        self.intents.clear();
    }

    /// `bowline deploy`: all of it, or cut off at an effect.
    pub fn deploy(&mut self, release: &SimRelease, mut cut: Option<(usize, Moment)>) -> End {
        let observed = self.observe();
        let intent = Intent {
            run: RunId::from("r".to_owned()),
            verb: "deploy".into(),
            by: "t".into(),
            at: "2026-11-22T10:00:00Z".parse().unwrap(),
            base: self.newest(),
            to: None,
            traces: traces(&observed, &plan(&observed, &desired(release)).unwrap()),
        };
        let begin = |world: &mut Self| {
            world.journal = true;
            world.intents.push(intent);
        };
        match take_cut(&mut cut) {
            Some(Moment::Before) => return End::CutOff,
            Some(_) => {
                begin(self);
                return End::CutOff;
            }
            None => begin(self),
        }
        let Some((verdict, actions)) = self.roll(release, false, &mut cut) else { return End::CutOff };
        if verdict == Verdict::Done {
            match take_cut(&mut cut) {
                Some(Moment::Before) => return End::CutOff,
                Some(_) => {
                    self.commit(release);
                    return End::CutOff;
                }
                None => self.commit(release),
            }
            self.clear_journal();
            return End::Done { actions };
        }
        let Some((_, base)) = self.revisions.last().cloned() else {
            self.clear_journal();
            return End::Stranded;
        };
        match self.roll(&base, true, &mut cut) {
            None => End::CutOff,
            Some((Verdict::Done, _)) => {
                // The base stands again, in other containers: a revision of its own says in which.
                self.commit(&base);
                self.clear_journal();
                End::PutBack
            }
            Some(_) => End::Stranded,
        }
    }

    /// Whether every service runs exactly this release, by what its containers were really made from.
    pub fn runs_exactly(&self, release: &SimRelease) -> Result<(), Cause> {
        for (index, name) in SERVICES.iter().enumerate() {
            let containers: Vec<_> = self.containers.iter().filter(|c| c.service == *name).collect();
            let [container] = containers.as_slice() else {
                return Err(Cause::new(format!("{name}: {} containers", containers.len())));
            };
            let (_, image, _) = &self.made[&container.id];
            if *image != image_of(index, release.images[index]).config {
                return Err(Cause::new(format!("{name}: another image")));
            }
            if self.images[image].iter().all(|n| *n != format!("docker.io/library/app-{name}:latest")) {
                return Err(Cause::new(format!("{name}: its name means another image")));
            }
        }
        let extra = self.containers.iter().filter(|c| c.service == "extra").count();
        if extra != usize::from(release.has_extra()) {
            return Err(Cause::new(format!("extra: {extra} containers")));
        }
        let files = desired(release).files;
        let files: BTreeMap<String, Digest> = files.into_iter().map(|(p, file)| (p, file.digest())).collect();
        let is_users = |path: &str, file: &Digest| path.starts_with(EXTRA) && *file == users_file();
        let mut there = self.files.clone();
        there.retain(|path, file| !is_users(path, file));
        if there != files {
            return Err(Cause::new(format!("the files are another release's: {there:?}, not {files:?}")));
        }
        Ok(())
    }

    /// Whether the file that somebody keeps is in its place; where a release that was reached had one of that name, beside
    /// it.
    pub fn keeps_users_file(&self) -> bool {
        let is = |path: &str| self.files.get(path) == Some(&users_file());
        let replaced = self.revisions.iter().any(|(_, release)| release.has_extra());
        is(EXTRA) != is(&kept(EXTRA)) && (replaced || is(EXTRA))
    }
}

fn take_cut(cut: &mut Option<(usize, Moment)>) -> Option<Moment> {
    match cut {
        Some((0, moment)) => Some(*moment),
        Some((left, _)) => {
            *left -= 1;
            None
        }
        None => None,
    }
}
