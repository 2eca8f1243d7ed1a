//! What there is in the cluster: whole lists at once, so that the number of requests grows with the kinds and not with
//! the objects.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::kube::comparison::mask;
use bowline_core::kube::object::{Kind, ObjectId, api_version};
use bowline_core::kube::preflight::Reference;
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use crate::call::Call;
use crate::cluster::Cluster;
use crate::discovery::{Catalog, Resource};
use crate::error::KubeError;

/// How many objects a page of a list has.
const PAGE: u32 = 500;
/// Of how many namespaces a kind is listed one by one; beyond, the whole cluster's list is shorter to ask for.
const NAMESPACES: usize = 8;

/// What is looked at.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Objects by name, whatever their kind.
    pub objects: BTreeSet<ObjectId>,
    /// All objects of a kind: of a namespace, or (none) of the whole cluster.
    pub lists: BTreeSet<(Kind, Option<String>)>,
}

/// What there is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// The objects that were wanted and are there. Secret values are masked.
    pub objects: BTreeMap<ObjectId, Value>,
    /// What could not be looked at, and why, for people: what is in `unseen` may be there or not.
    pub notes: Vec<String>,
    /// Objects and lists that nobody may look at.
    pub unseen: BTreeSet<String>,
}

/// One list to be asked for, and what is kept of it.
struct Listing<'c> {
    resource: &'c Resource,
    namespace: Option<String>,
    /// The objects that are kept; none: all.
    names: Option<BTreeSet<ObjectId>>,
}

impl Cluster {
    /// Looks at objects, all at once. Kinds that the catalog does not know have no objects. A list that is forbidden is
    /// replaced by a question for each object, with a note.
    pub async fn observe(&self, catalog: &Catalog, wanted: &Wanted) -> Result<Observation, KubeError> {
        let listings = plan(catalog, wanted);
        let parts = try_join_all(listings.iter().map(|listing| self.observe_listing(listing))).await?;
        let mut whole = Observation::default();
        for part in parts {
            whole.objects.extend(part.objects);
            whole.notes.extend(part.notes);
            whole.unseen.extend(part.unseen);
        }
        Ok(whole)
    }

    /// One object as it is now; none where it is not there. Secret values are masked.
    pub async fn get(&self, resource: &Resource, id: &ObjectId) -> Result<Option<Value>, KubeError> {
        let what = format!("look at {id}");
        let call = Call::get(&what, resource.object_path(id.namespace.as_deref(), &id.name));
        let reply = self.call(&call).await?;
        if reply.status.as_u16() == 404 {
            return Ok(None);
        }
        let mut object = reply.success(&what, self.server())?;
        mask(&mut object);
        Ok(Some(object))
    }

    /// All objects of a kind: of a namespace, or (none) of the whole cluster. Secret values are masked.
    pub async fn list(&self, resource: &Resource, namespace: Option<&str>) -> Result<Vec<Value>, KubeError> {
        let place = namespace.map_or_else(|| "the cluster".to_owned(), |name| format!("namespace {name}"));
        let what = format!("list {} in {place}", resource.plural);
        // A list whose next page is no longer there has changed a lot meanwhile; a second time that is bad luck no more.
        for _ in 0..3 {
            match self.pages(resource, namespace, &what).await {
                Err(error) if error.is_gone() => {}
                result => return result,
            }
        }
        self.fetch(&Call::get(&what, resource.path(namespace))).await.map(|list| items(resource, list))
    }

    async fn pages(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        what: &str,
    ) -> Result<Vec<Value>, KubeError> {
        let (mut found, mut next) = (Vec::new(), String::new());
        loop {
            let path = format!("{}?limit={PAGE}{next}", resource.path(namespace));
            let list = self.fetch(&Call::get(what, path)).await?;
            let token =
                list.pointer("/metadata/continue").and_then(Value::as_str).unwrap_or_default().to_owned();
            found.extend(items(resource, list));
            if token.is_empty() {
                return Ok(found);
            }
            next = format!("&continue={}", crate::call::segment(&token));
        }
    }

    async fn observe_listing(&self, listing: &Listing<'_>) -> Result<Observation, KubeError> {
        let Listing { resource, namespace, names } = listing;
        let kind = resource.kind();
        // Few objects are asked for by name: their list may be long. That of secrets certainly is: releases of Helm and
        // of Bowline are in it, and roles that may read some of them seldom may list all.
        let few = if kind.is("", "Secret") { 4 } else { 1 };
        let few = names.as_ref().is_some_and(|names| names.len() <= few);
        if few || !resource.verbs.contains("list") {
            return self.observe_each(resource, names.as_ref()).await;
        }
        match self.list(resource, namespace.as_deref()).await {
            Ok(objects) => {
                let objects =
                    objects.into_iter().filter_map(|object| Some((identify(&kind, &object)?, object)));
                let kept = objects.filter(|(id, _)| names.as_ref().is_none_or(|names| names.contains(id)));
                Ok(Observation { objects: kept.collect(), ..Observation::default() })
            }
            Err(error) if error.is_forbidden() => {
                let mut each = self.observe_each(resource, names.as_ref()).await?;
                each.notes.insert(0, format!("{error}; asked for each by name instead"));
                if names.is_none() {
                    each.unseen.insert(Reference::All { kind, namespace: namespace.clone() }.to_string());
                    each.notes = vec![error.to_string()];
                }
                Ok(each)
            }
            Err(error) => Err(error),
        }
    }

    async fn observe_each(
        &self,
        resource: &Resource,
        names: Option<&BTreeSet<ObjectId>>,
    ) -> Result<Observation, KubeError> {
        let ask = async |id: &ObjectId| Ok::<_, KubeError>((id.clone(), self.get(resource, id).await));
        let answers = try_join_all(names.into_iter().flatten().map(ask)).await?;
        let mut found = Observation::default();
        for (id, answer) in answers {
            match answer {
                Ok(Some(object)) => {
                    found.objects.insert(id, object);
                }
                Ok(None) => {}
                Err(error) if error.is_forbidden() => {
                    found.notes.push(error.to_string());
                    found.unseen.insert(id.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

/// The lists that what is wanted takes: one for a kind and namespace, or one for a kind where there are many.
fn plan<'c>(catalog: &'c Catalog, wanted: &Wanted) -> Vec<Listing<'c>> {
    let mut names = BTreeMap::<&Kind, BTreeMap<Option<String>, BTreeSet<ObjectId>>>::new();
    for id in &wanted.objects {
        names.entry(&id.kind).or_default().entry(id.namespace.clone()).or_default().insert(id.clone());
    }
    let mut listings = Vec::new();
    let whole = |kind: &Kind, namespace: &Option<String>| {
        [namespace, &None]
            .iter()
            .any(|namespace| wanted.lists.contains(&(kind.clone(), (*namespace).clone())))
    };
    for (kind, mut places) in names {
        let Some(resource) = catalog.any(kind) else { continue };
        // What is listed anyway is there then.
        places.retain(|namespace, _| !whole(kind, namespace));
        if places.len() > NAMESPACES {
            let all = places.into_values().flatten().collect();
            listings.push(Listing { resource, namespace: None, names: Some(all) });
        } else {
            let listing = |(namespace, names)| Listing { resource, namespace, names: Some(names) };
            listings.extend(places.into_iter().map(listing));
        }
    }
    for (kind, namespace) in &wanted.lists {
        if let Some(resource) = catalog.any(kind) {
            listings.push(Listing { resource, namespace: namespace.clone(), names: None });
        }
    }
    listings
}

/// The objects of a list, with what their list says once for all of them. Secret values are masked.
fn items(resource: &Resource, mut list: Value) -> Vec<Value> {
    let Some(Value::Array(items)) = list.get_mut("items").map(Value::take) else { return Vec::new() };
    let version = api_version(&resource.version.group, &resource.version.version);
    let whole = |mut item: Value| {
        if let Some(item) = item.as_object_mut() {
            item.insert("apiVersion".into(), json!(version));
            item.insert("kind".into(), json!(resource.kind));
        }
        mask(&mut item);
        item
    };
    items.into_iter().map(whole).collect()
}

/// Which object of a kind a value is.
fn identify(kind: &Kind, object: &Value) -> Option<ObjectId> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    Some(ObjectId {
        kind: kind.clone(),
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name")?,
    })
}
