use bowline_core::kube::object::Kind;
use bowline_kube::GroupVersion;

use crate::lab::versions;
use crate::stage::Stage;

#[tokio::test]
async fn kinds_are_found_with_their_scope_and_what_is_missing_is_said() {
    let Some(stage) = Stage::open("discovery").await else { return };
    let cluster = &stage.cluster;
    let catalog = cluster.discover(&versions()).await.unwrap();
    assert!(catalog.server.major == 1 && catalog.server.minor >= 20, "{:?}", catalog.server);
    for (group, kind, plural, namespaced) in [
        ("", "Namespace", "namespaces", false),
        ("", "PersistentVolumeClaim", "persistentvolumeclaims", true),
        ("apps", "StatefulSet", "statefulsets", true),
        ("rbac.authorization.k8s.io", "ClusterRole", "clusterroles", false),
    ] {
        let resource = catalog.any(&Kind::new(group, kind)).unwrap();
        assert_eq!((resource.plural.as_str(), resource.namespaced), (plural, namespaced));
        assert!(resource.verbs.contains("patch") && resource.verbs.contains("list"));
    }
    let missing = GroupVersion::new("nothing.example.com", "v1");
    assert_eq!(catalog.resource(&missing, "Thing"), None);
    assert!(catalog.explain(&missing, "Thing").ends_with("it has no version of that group"));
    let old = GroupVersion::new("apps", "v1beta1");
    assert!(
        catalog.explain(&old, "Deployment").ends_with("it has apps/v1"),
        "{}",
        catalog.explain(&old, "Deployment")
    );
    assert!(catalog.has(&GroupVersion::new("apps", "v1")) && !catalog.has(&old));
}
