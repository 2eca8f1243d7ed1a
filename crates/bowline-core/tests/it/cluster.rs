//! What is found in manifests that others wrote, before they are applied.

use bowline_core::kube::manifest::read;
use bowline_core::kube::object::ObjectId;
use bowline_core::kube::order::{describe, edges};
use bowline_core::kube::preflight::{Cluster, check};
use serde_json::json;

use crate::manifest::files;

#[test]
fn manifests_that_others_wrote_are_ordered_and_let_through() {
    for (folder, without_probe) in
        [("microservices-demo/kubernetes-manifests", 1), ("voting-app/k8s-specifications", 5)]
    {
        let Some(files) = files(folder) else { return };
        let manifests = read(&files, Some("shop"), |_| None).manifests;
        let order = describe(&edges(&manifests).unwrap());
        let first = order.iter().position(|line| line.starts_with("Deployment ")).unwrap();
        assert!(order[..first].iter().any(|line| line.starts_with("Service ")), "{order:#?}");
        assert!(order[first..].iter().all(|line| line.starts_with("Deployment ")), "{order:#?}");

        let node = json!({"metadata": {"name": "a"},
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}}});
        let mut cluster = Cluster { nodes: vec![node], ..Cluster::default() };
        cluster.existing.insert(ObjectId::of_cluster("", "Namespace", "shop"), json!({}));
        let findings = check(&manifests, &cluster);
        assert_eq!(findings.refusals, [], "{folder}");
        let weak = findings.warnings.iter().filter(|finding| finding.text.starts_with("weak: ")).count();
        assert_eq!(
            (weak, findings.warnings.len()),
            (without_probe, without_probe),
            "{:#?}",
            findings.warnings
        );
    }
}
