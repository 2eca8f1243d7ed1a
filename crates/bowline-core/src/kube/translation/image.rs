//! What a Dockerfile gives away of its image, where there is one: a cluster is told what Docker knows from the image.

/// What is known of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traits {
    /// The TCP ports that it says it listens on.
    pub ports: Vec<u16>,
    /// The number of the user that it runs as, where it is one.
    pub user: Option<u64>,
    /// Whether it brings a health check, which a cluster does not run.
    pub healthcheck: bool,
}

/// Reads the last stage of a Dockerfile, variables aside.
pub fn read(text: &str) -> Traits {
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    let mut traits = Traits::default();
    for line in joined.lines() {
        let mut words = line.split_whitespace();
        match words.next().map(str::to_ascii_uppercase).as_deref() {
            Some("FROM") => traits = Traits::default(),
            Some("EXPOSE") => traits.ports.extend(words.filter_map(|word| {
                let (port, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
                port.parse::<u16>().ok().filter(|_| protocol == "tcp")
            })),
            Some("USER") => traits.user = words.next().and_then(|user| user.split(':').next()?.parse().ok()),
            Some("HEALTHCHECK") => traits.healthcheck = words.next().is_some_and(|word| word != "NONE"),
            _ => {}
        }
    }
    traits
}

/// The port of a program that everybody knows, by the last part of its image's name.
pub(super) fn well_known_port(image: &str) -> Option<u16> {
    let name = image.split('@').next()?.rsplit('/').next()?.split(':').next()?.to_ascii_lowercase();
    let known = [
        (&["postgres", "postgis", "timescaledb", "pgvector"][..], 5432),
        (&["mysql", "mariadb", "percona"], 3306),
        (&["redis", "valkey", "keydb"], 6379),
        (&["mongo", "mongodb"], 27017),
        (&["rabbitmq"], 5672),
        (&["nats"], 4222),
        (&["kafka", "cp-kafka"], 9092),
        (&["zookeeper", "cp-zookeeper"], 2181),
        (&["elasticsearch", "opensearch"], 9200),
        (&["memcached"], 11211),
        (&["nginx", "httpd", "caddy"], 80),
    ];
    known.into_iter().find(|(names, _)| names.contains(&name.as_str())).map(|(_, port)| port)
}

/// Whether its image is a database that starts only on an empty directory: a file system's own has a `lost+found`.
pub(super) fn needs_empty_directory(image: &str) -> bool {
    matches!(well_known_port(image), Some(5432 | 3306))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stage_counts() {
        let text = "FROM x AS b\nEXPOSE 1\nUSER 5\nFROM scratch\nEXPOSE 4222 \\\n 8222/tcp 53/udp $P\nUSER 65532:65532\nhealthcheck CMD x\n";
        assert_eq!(read(text), Traits { ports: vec![4222, 8222], user: Some(65532), healthcheck: true });
        assert_eq!(read("FROM x\nUSER app\nHEALTHCHECK NONE"), Traits::default());
    }

    #[test]
    fn images_are_known_by_their_last_name() {
        for (image, port) in [
            ("postgres:15-alpine", Some(5432)),
            ("bitnami/kafka:3@sha256:abc", Some(9092)),
            ("localhost:5000/redis", Some(6379)),
            ("acme/postgres-exporter", None),
        ] {
            assert_eq!(well_known_port(image), port, "{image}");
        }
    }
}
