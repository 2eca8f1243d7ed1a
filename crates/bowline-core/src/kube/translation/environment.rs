//! Environment variables: which of them are secrets, and how a cluster is told the others.

/// Words in a variable's name that a secret's has.
const WORDS: [&str; 16] = [
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "SECRET",
    "TOKEN",
    "CREDENTIAL",
    "PRIVATEKEY",
    "APIKEY",
    "ACCESSKEY",
    "SIGNINGKEY",
    "ENCRYPTIONKEY",
    "AUTHKEY",
    "MASTERKEY",
    "REQUIREPASS",
    "WEBHOOKURL",
    "KEYPHRASE",
];
/// Words that a secret's name ends in, or is.
const ENDS: [&str; 4] = ["PWD", "PASS", "SALT", "DSN"];
/// How the name of something about a secret ends.
const ABOUT: [&str; 12] = [
    "FILE",
    "PATH",
    "TTL",
    "EXPIRY",
    "EXPIRES",
    "EXPIRATION",
    "LENGTH",
    "TYPE",
    "ALGORITHM",
    "HEADER",
    "ISSUER",
    "URI",
];

/// Whether a variable looks like a secret, by its name or by what its value is made like.
pub fn is_secret(name: &str, value: &str) -> bool {
    let words: Vec<String> = words(name);
    let joined = words.concat();
    let last = words.last().map_or("", String::as_str);
    let named = WORDS.iter().any(|word| joined.contains(word)) || ENDS.contains(&last);
    let switch = ["", "true", "false", "yes", "no", "on", "off", "0", "1"]
        .contains(&value.to_ascii_lowercase().as_str());
    let number = value.chars().all(|c| c.is_ascii_digit());
    let about = ABOUT.contains(&last) || (number && !joined.contains("PASS") && !joined.contains("SECRET"));
    (named && !switch && !about) || is_made_like_one(value)
}

/// `spring.datasource.userPassword` as SPRING, DATASOURCE, USER, PASSWORD.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() {
            words.push(String::new());
        } else {
            if small && c.is_ascii_uppercase() {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.push(c.to_ascii_uppercase());
            }
        }
        small = c.is_ascii_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

fn is_made_like_one(value: &str) -> bool {
    let prefixed =
        ["-----BEGIN", "AKIA", "ghp_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "sk_live_", "eyJ"];
    let in_url = value.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split('/').next().unwrap_or(rest);
        authority
            .rsplit_once('@')
            .and_then(|(user, _)| user.split_once(':'))
            .is_some_and(|(_, pass)| !pass.is_empty())
    });
    in_url || prefixed.iter().any(|prefix| value.starts_with(prefix) && value.len() >= 16)
}

/// A text that Kubernetes does not fill in: `$(NAME)` stands for a variable in commands and in values there.
pub fn literal(text: &str) -> String {
    text.replace("$(", "$$(")
}

/// What Kubernetes makes of such a text.
pub fn read_literal(text: &str) -> String {
    text.replace("$$(", "$(")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_from_what_is_about_them() {
        for (name, value, secret) in [
            ("POSTGRES_PASSWORD", "postgres", true),
            ("spring.datasource.userPassword", "x", true),
            ("DB_PWD", "x", true),
            ("DB_PASS", "1234", true),
            ("JWT_SECRET_KEY", "x", true),
            ("AWS_ACCESS_KEY_ID", "x", true),
            ("apiKey", "x", true),
            ("SLACK_WEBHOOK_URL", "https://hooks", true),
            ("DATABASE_URL", "postgres://u:p@db/x", true),
            ("DATABASE_URL", "postgres://u@db/x", false),
            ("MYSQL_ALLOW_EMPTY_PASSWORD", "yes", false),
            ("POSTGRES_PASSWORD_FILE", "/run/secrets/p", false),
            ("ACCESS_TOKEN_TTL", "3600", false),
            ("TOKEN_SECONDS", "3600", false),
            ("POSTGRES_USER", "postgres", false),
            ("COMPASS", "n", false),
            ("PASSENGERS", "3", false),
            ("PRIVATE_KEY", "-----BEGIN RSA", true),
        ] {
            assert_eq!(is_secret(name, value), secret, "{name}={value}");
        }
    }

    #[test]
    fn variables_are_not_filled_in_twice() {
        for text in ["a$(B)", "$$", "$B", "a"] {
            assert_eq!(read_literal(&literal(text)), text);
        }
    }
}
