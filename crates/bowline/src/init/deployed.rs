//! What is deployed: a compose file's services and the workloads of manifests.

use bowline_core::reference::Reference;

/// Something that a compose file or a manifest runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Deployed {
    pub(super) name: String,
    /// The file that says so.
    pub(super) file: String,
    /// Its image, variables filled in where they could be.
    pub(super) image: Option<String>,
    /// The context and the Dockerfile that it is built from, relative to the repository.
    pub(super) build: Option<(String, String)>,
    /// The port in the container.
    pub(super) port: Option<u16>,
    /// Whether the file says how its health is seen.
    pub(super) checked: bool,
    /// Another name that it goes by.
    pub(super) alias: Option<String>,
    /// Where its image or build could not be understood.
    pub(super) unsure: Option<String>,
}

/// Images that teams take rather than make, by the last part of their names.
const STACKS: [&str; 70] = [
    "adminer",
    "akhq",
    "alertmanager",
    "alpine",
    "apache-kafka",
    "busybox",
    "caddy",
    "cadvisor",
    "cassandra",
    "certbot",
    "clickhouse",
    "clickhouse-server",
    "cockroach",
    "consul",
    "couchdb",
    "cp-kafka",
    "cp-kafka-connect",
    "cp-schema-registry",
    "cp-zookeeper",
    "curl",
    "debezium",
    "elasticsearch",
    "envoy",
    "etcd",
    "fluent-bit",
    "fluentd",
    "grafana",
    "haproxy",
    "httpd",
    "influxdb",
    "jaeger",
    "all-in-one",
    "kafdrop",
    "kafka",
    "kafka-ui",
    "keycloak",
    "kibana",
    "localstack",
    "logstash",
    "loki",
    "mailhog",
    "mailpit",
    "mariadb",
    "memcached",
    "minio",
    "mongo",
    "mongo-express",
    "mongodb",
    "mysql",
    "mysql-server",
    "nats",
    "neo4j",
    "nginx",
    "node-exporter",
    "opensearch",
    "opentelemetry-collector",
    "phpmyadmin",
    "portainer",
    "postgres",
    "postgresql",
    "prometheus",
    "promtail",
    "rabbitmq",
    "redis",
    "redis-stack",
    "registry",
    "traefik",
    "vault",
    "zipkin",
    "zookeeper",
];

impl Deployed {
    /// The image as a reference, where it is one.
    pub(super) fn reference(&self) -> Option<Reference> {
        self.image.as_deref()?.parse().ok()
    }

    /// The last part of the image's name, without tag.
    pub(super) fn image_name(&self) -> Option<String> {
        let reference = self.reference()?;
        Some(super::place::last(&reference.repository.name).to_owned())
    }

    /// Whether it runs an image that teams take rather than make.
    pub(super) fn is_stack(&self) -> bool {
        self.build.is_none() && self.image_name().is_some_and(|name| STACKS.contains(&name.as_str()))
    }
}
