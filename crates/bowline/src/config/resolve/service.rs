//! Services, and what no two of them may share.

use std::collections::BTreeMap;
use std::ops::Range;

use bowline_core::reference::{Reference, is_tag};
use bowline_core::service::{LONGEST_VERSION, ServiceName, TagTemplate};

use super::part::Part;
use super::{Named, name};
use crate::config::document::{At, Document, HealthTable, ServiceTable, TcpCheck};
use crate::config::problem::{Problem, Purpose};
use crate::config::service::{Health, Probe, Service};

pub(super) fn services(part: &mut Part, document: &Document, template: &TagTemplate) -> Named<Service> {
    let shell = document.build.shell.unwrap_or(false);
    let (base, platform) = part.within(&Purpose::Release, |part| {
        (part.parse(document.build.base.as_ref()), part.parse(document.build.platform.as_ref()))
    });
    let mut services = Named::new();
    let mut claims: BTreeMap<String, (Range<usize>, String)> = BTreeMap::new();
    for (key, table) in &document.services {
        let Some(name) = name(part, key) else { continue };
        let images = images(part, table, &name, &mut claims);
        let port = part.port(table.port.as_ref());
        let health = table.health.as_ref().map(|at| health(part, at, port)).unwrap_or_default();
        let service = part.within(&Purpose::Release, |part| {
            tag(part, key, &name, template);
            let artifact = table.artifact.as_ref().and_then(|at| {
                part.placeholders(&at.value, &at.span, true);
                part.glob(at)
            });
            Service {
                inputs: part.globs(table.inputs.as_ref()),
                command: table.build.as_ref().and_then(|command| part.command(command, shell, true)),
                artifact,
                context: part.path(table.context.as_ref()),
                dockerfile: part.path(table.dockerfile.as_ref()),
                images,
                base: part.parse(table.base.as_ref()).or_else(|| base.clone()),
                platform: part.parse(table.platform.as_ref()).or_else(|| platform.clone()),
                port,
                health,
                name: name.clone(),
            }
        });
        services.insert(name, service);
    }
    services
}

/// Every thinkable version must make a legal tag.
fn tag(part: &mut Part, key: &At<String>, name: &ServiceName, template: &TagTemplate) {
    if template.fits(name) {
        return;
    }
    let longest = template.render(name, LONGEST_VERSION);
    let room = 128_usize.saturating_sub(longest.len() - name.as_str().len());
    let message = if is_tag(&longest.chars().take(128).collect::<String>()) {
        format!("the image tags of `{name}` could exceed 128 characters")
    } else {
        format!("`{template}` makes no legal image tag of `{name}`")
    };
    part.problems.push(
        Problem::new(&key.span, message, format!("{} characters, {room} are possible", name.as_str().len()))
            .help("shorten the name; `images` says how compose files call it"),
    );
}

/// The image names of a service; one that another service has already is told.
fn images(
    part: &mut Part,
    table: &ServiceTable,
    name: &ServiceName,
    claims: &mut BTreeMap<String, (Range<usize>, String)>,
) -> Vec<Reference> {
    let mut images = Vec::new();
    for at in table.images.iter().flatten() {
        if at.value.contains('$') {
            part.problems.push(
                Problem::new(
                    &at.span,
                    "an image name with a variable cannot be compared",
                    "write what it becomes",
                )
                .help("`docker compose config` shows the name after its variables are filled in"),
            );
            continue;
        }
        let Some(reference) = part.parse::<Reference>(Some(at)) else { continue };
        if reference.digest.is_some() {
            part.refuse(&at.span, "no other image can be given a name with a digest", "leave out the digest");
            continue;
        }
        let tag = reference.effective_tag().unwrap_or_default();
        let full = format!("{}:{tag}", reference.repository);
        if let Some((span, other)) = claims.get(&full) {
            let message = if other == name.as_str() {
                format!("`{name}` names this image twice")
            } else {
                format!("two services claim the image `{}`", reference.familiar())
            };
            let mut problem = Problem::new(&at.span, message, format!("claimed by `{name}`"))
                .related(span, format!("claimed by `{other}`"));
            let written = |text: &str| text.trim_start_matches("docker.io/").to_owned();
            if written(&full) != at.value {
                problem = problem.help(format!("both mean {full}"));
            }
            part.problems.push(problem);
            continue;
        }
        claims.insert(full, (at.span.clone(), name.to_string()));
        images.push(reference);
    }
    images
}

fn health(part: &mut Part, at: &At<HealthTable>, own: Option<u16>) -> Health {
    let table = &at.value;
    Health {
        probe: probe(part, table, own),
        start: part.duration(table.start.as_ref(), false),
        restarts: table.restarts.as_ref().map(|at| at.value),
    }
}

fn probe(part: &mut Part, table: &HealthTable, own: Option<u16>) -> Option<Probe> {
    let given = [table.http.as_ref().map(|at| at.span.clone()), table.tcp.as_ref().map(|at| at.span.clone())];
    let mut given: Vec<Range<usize>> = given.into_iter().flatten().collect();
    given.sort_by_key(|span| span.start);
    if let [first, second, ..] = given.as_slice() {
        let problem = Problem::new(second, "health is seen by one of `http` and `tcp`", "leave this out")
            .related(first, "or this");
        part.problems.push(problem);
        return None;
    }
    let named = part.port(table.port.as_ref());
    let port = named.or(own);
    let missing = |part: &mut Part, span: &Range<usize>| {
        part.refuse(span, "nobody knows which port to ask", "add `port = …` to the service");
    };
    match (&table.http, &table.tcp) {
        (Some(http), _) => {
            if !http.value.starts_with('/')
                || http.value.contains(|c: char| c.is_whitespace() || c.is_control())
            {
                part.refuse(
                    &http.span,
                    "`http` is a path, such as `/health`",
                    "not a path that starts with `/`",
                );
                return None;
            }
            if port.is_none() {
                missing(part, &http.span);
            }
            Some(Probe::Http { path: http.value.clone(), port: port? })
        }
        (None, Some(At { value: TcpCheck::Own(false), .. }) | None) => None,
        (None, Some(tcp)) => {
            let asked = match tcp.value {
                TcpCheck::Port(port) => part.port(Some(&At { value: port, span: tcp.span.clone() })),
                TcpCheck::Own(_) => {
                    if port.is_none() {
                        missing(part, &tcp.span);
                    }
                    port
                }
            };
            Some(Probe::Tcp { port: asked? })
        }
    }
}
