//! What a build command is given beside its words.

use bowline_core::artifact::dockerfile::{SERVICE, TAG, VERSION};
use bowline_core::placeholder::Placeholders;

/// The environment that every build gets: version and tag, and the service where the build is one service's.
pub fn environment(values: &Placeholders) -> Vec<(String, String)> {
    [(VERSION, "{version}"), (TAG, "{tag}"), (SERVICE, "{service}")]
        .into_iter()
        .map(|(name, pattern)| (name, pattern, values.fill(pattern)))
        // `{service}` stays as it is where the build is the whole project's.
        .filter(|(_, pattern, value)| value != pattern)
        .map(|(name, _, value)| (name.to_owned(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_named_where_there_is_one() {
        let names = |values: &Placeholders| {
            environment(values).into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        let project = Placeholders::new("1.0.0-abc1234");
        assert_eq!(names(&project), ["BOWLINE_VERSION=1.0.0-abc1234", "BOWLINE_TAG=v1.0.0-abc1234"]);
        assert_eq!(names(&project.service("user")).last().unwrap(), "BOWLINE_SERVICE=user");
    }
}
