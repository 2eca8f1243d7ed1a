//! Other requests and limits where manifests describe containers.

use std::collections::BTreeMap;

use serde_json::Value;

use super::mapping::{Goal, Place};
use super::{Draft, Page, remarks};
use crate::kube::manifest::document::{Mark, Note};
use crate::kube::manifest::place::{Object, locate, objects};
use crate::kube::manifest::{Remark, brief};
use crate::kube::object::{Kind, Origin, split_api_version};
use crate::kube::scheduling::request::{amount_of, quantity};
use crate::kube::workload::template_pointer;
use crate::quantity::Quantity;

const MEBI: u64 = 1 << 20;

/// What is asked for, or may be used; nothing where that stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Thousandths of a core.
    pub cpu: Option<u64>,
    /// Bytes. Manifests have them in whole `Mi`, rounded up.
    pub memory: Option<u64>,
}

/// What a container of a workload is to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where the workload begins: [`crate::kube::object::Manifest::origin`].
    pub object: Origin,
    /// The container in its pod template: one that goes on running, not one that only prepares the others.
    pub container: String,
    /// What is kept for it.
    pub requests: Amounts,
    /// The most that it may use.
    pub limits: Amounts,
}

/// The text of a file in which containers are given what is wanted of those that are in it. Everything else stays, byte
/// for byte, and so does what means the same already. Lines that are put in move what stands below them: whatever is wanted
/// of a file is given at once, or the file is read again in between.
///
/// # Errors
/// What cannot be changed, with its place and the reason; then nothing is: a container that is not there, one that is
/// shared by an anchor, an alias or `<<`, a value that is no quantity, or a request above its limit.
pub fn edit_resources(file: &str, text: &str, wanted: &[Wanted]) -> Result<String, Vec<Remark>> {
    let page = Page::read(text).map_err(|notes| remarks(file, notes))?;
    let objects = objects(&page.documents);
    let (mut draft, mut refused) = (Draft::default(), Vec::new());
    let mut containers: BTreeMap<(Mark, &str), [Amounts; 2]> = BTreeMap::new();
    for wanted in wanted.iter().filter(|wanted| wanted.object.file == file) {
        let at = Mark::of_origin(&wanted.object);
        let there = containers.entry((at, &wanted.container)).or_default();
        for (there, more) in there.iter_mut().zip([wanted.requests, wanted.limits]) {
            if !(join(&mut there.cpu, more.cpu) && join(&mut there.memory, more.memory)) {
                let container = brief(&wanted.container);
                refused.push(Note::new(at, format!("`{container}` is to be given two different amounts")));
            }
        }
    }
    for ((at, container), [requests, limits]) in containers {
        let Some(object) = objects.get(&at) else {
            refused.push(Note::new(at, "no object begins here any more"));
            continue;
        };
        match Container::find(&page, object, container) {
            Ok(container) => refused.extend(container.give(requests, limits, &mut draft)),
            Err(note) => refused.push(note),
        }
    }
    if !refused.is_empty() {
        refused.sort_by_key(|note| note.at);
        return Err(remarks(file, refused));
    }
    page.change(draft).map_err(|notes| remarks(file, notes))
}

/// Takes over an amount. False where there is another already.
fn join(there: &mut Option<u64>, more: Option<u64>) -> bool {
    let fits = there.is_none() || more.is_none() || *there == more;
    *there = there.or(more);
    fits
}

/// A container in the pod template of an object.
struct Container<'p, 't> {
    page: &'p Page<'t>,
    object: &'p Object,
    name: &'p str,
    /// Where it is in the object.
    pointer: String,
    value: &'p Value,
}

impl<'p, 't> Container<'p, 't> {
    fn find(page: &'p Page<'t>, object: &'p Object, name: &'p str) -> Result<Self, Note> {
        let refuse = |pointer: &str, reason: String| {
            let at = locate(&page.documents, object, pointer);
            Note::new(at.unwrap_or(Mark { line: 1, column: 1 }), reason)
        };
        let root = page.values.get(object.document).unwrap_or(&Value::Null);
        let template = kind(root, &object.pointer).and_then(|kind| template_pointer(&kind));
        let template = template.ok_or_else(|| refuse("", "this is no object that runs pods".into()))?;
        let value = root.pointer(&object.pointer).unwrap_or(&Value::Null);
        let spec = format!("{template}/spec");
        let is_named = |container: &&Value| container.get("name").and_then(Value::as_str) == Some(name);
        let (mut found, mut only_prepares) = (Vec::new(), false);
        for list in ["initContainers", "containers"] {
            let list = format!("{spec}/{list}");
            let all = value.pointer(&list).and_then(Value::as_array).into_iter().flatten();
            for (index, value) in all.enumerate().filter(|(_, container)| is_named(container)) {
                let stays = value.get("restartPolicy").and_then(Value::as_str) == Some("Always");
                if list.ends_with("initContainers") && !stays {
                    only_prepares = true;
                } else {
                    found.push(Self { page, object, name, pointer: format!("{list}/{index}"), value });
                }
            }
        }
        let name = brief(name);
        match (found.pop(), found.is_empty()) {
            (Some(container), true) => Ok(container),
            (Some(container), false) => {
                Err(refuse(&container.pointer, format!("a second container is called `{name}`")))
            }
            (None, _) if only_prepares => Err(refuse(
                &spec,
                format!("`{name}` only prepares the pod and ends: set by hand what it is given"),
            )),
            (None, _) => Err(refuse(&spec, format!("there is no container `{name}` here any more"))),
        }
    }

    /// Drafts what gives it these amounts; says what stands in the way.
    fn give(&self, requests: Amounts, limits: Amounts, draft: &mut Draft) -> Vec<Note> {
        let (mut refused, mut request_goals, mut limit_goals) = (Vec::new(), Vec::new(), Vec::new());
        for (resource, request, limit) in
            [("cpu", requests.cpu, limits.cpu), ("memory", requests.memory, limits.memory)]
        {
            let sides = self.side("requests", resource, request).and_then(|request| {
                let limit = self.side("limits", resource, limit)?;
                self.compare(resource, &request, &limit)?;
                Ok((request, limit))
            });
            match sides {
                Ok((request, limit)) => {
                    request_goals.extend(request.new.map(|new| (resource, Goal::Scalar(new))));
                    limit_goals.extend(limit.new.map(|new| (resource, Goal::Scalar(new))));
                }
                Err(note) => refused.push(note),
            }
        }
        let sides = [("requests", request_goals), ("limits", limit_goals)];
        let sides = sides.into_iter().filter(|(_, goals)| !goals.is_empty());
        let sides: Vec<_> = sides.map(|(side, goals)| (side, Goal::Mapping(goals))).collect();
        if refused.is_empty() && !sides.is_empty() {
            refused.extend(self.write(&[("resources", Goal::Mapping(sides))], draft).err());
        }
        refused
    }

    fn write(&self, goals: &[(&'static str, Goal)], draft: &mut Draft) -> Result<(), Note> {
        let trail = self.page.walk(self.object, &self.pointer)?;
        let Some(node) = trail.last().copied() else { return Ok(()) };
        let pointer = format!("{}{}", self.object.pointer, self.pointer);
        let place = Place { node, document: self.object.document, pointer };
        self.page.settle(&place, goals, &self.page.form_along(&trail), draft)
    }

    /// What there will be of a resource on one side.
    fn side(&self, side: &'static str, resource: &str, wanted: Option<u64>) -> Result<Side, Note> {
        let pointer = format!("/resources/{side}/{resource}");
        let written = self.value.pointer(&pointer).filter(|value| !value.is_null());
        let now = written.and_then(quantity);
        let at = self.mark(&pointer);
        let Some(wanted) = wanted else { return Ok(Side { at, then: now, new: None }) };
        if let (Some(value), None) = (written, now) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let value = brief(&value);
            return Err(Note::new(at, format!("`{value}` is no quantity: change it by hand")));
        }
        let (exact, rounded, new) = if resource == "cpu" {
            let cores = Quantity::of_thousandths(wanted);
            (cores, cores, cores.cores())
        } else {
            let mebibytes = wanted.div_ceil(MEBI);
            let new = if mebibytes == 0 { "0".to_owned() } else { format!("{mebibytes}Mi") };
            (Quantity::whole(wanted), Quantity::whole(MEBI).times(mebibytes), new)
        };
        let same = now.filter(|now| [exact, rounded].contains(now));
        Ok(Side { at, then: Some(same.unwrap_or(rounded)), new: same.is_none().then_some(new) })
    }

    /// The API server takes no request above its limit.
    fn compare(&self, resource: &str, request: &Side, limit: &Side) -> Result<(), Note> {
        let (Some(asked), Some(most)) = (request.then, limit.then) else { return Ok(()) };
        if asked <= most {
            return Ok(());
        }
        let name = brief(self.name);
        let (asked, most) = (amount_of(resource, asked), amount_of(resource, most));
        match (&request.new, &limit.new) {
            (None, None) => Ok(()),
            (Some(_), None) => Err(Note::new(
                limit.at,
                format!(
                    "`{name}` is to request {asked}, and its limit is {most}: give it another limit as well"
                ),
            )),
            (None, Some(_)) => Err(Note::new(
                request.at,
                format!(
                    "`{name}` is to be limited to {most}, and requests {asked}: give it another request as well"
                ),
            )),
            (Some(_), Some(_)) => Err(Note::new(
                self.mark(""),
                format!("`{name}` is to request {asked} and to be limited to {most}: no cluster takes that"),
            )),
        }
    }

    fn mark(&self, below: &str) -> Mark {
        let at = locate(&self.page.documents, self.object, &format!("{}{below}", self.pointer));
        at.unwrap_or(Mark { line: 1, column: 1 })
    }
}

/// One side of a resource: what is requested, or the limit.
struct Side {
    at: Mark,
    /// What there will be; none where nothing is said.
    then: Option<Quantity>,
    /// What is to be written; none where it stays.
    new: Option<String>,
}

/// The kind of an object. Items of a list of one kind need not say it.
fn kind(root: &Value, pointer: &str) -> Option<Kind> {
    let value = root.pointer(pointer)?;
    let list = pointer.rsplit_once("/items/").and_then(|(list, _)| root.pointer(list));
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let (api_version, kind) = match (value.get("kind"), list) {
        (None, Some(list)) => {
            (text(list, "apiVersion")?, text(list, "kind")?.strip_suffix("List")?.to_owned())
        }
        _ => (text(value, "apiVersion")?, text(value, "kind")?),
    };
    let (group, _) = split_api_version(&api_version);
    Some(Kind::new(group, &kind))
}

#[cfg(test)]
mod tests;
