//! Which resource a path means. Repository names hold slashes, so paths are read from their end.

use bowline_core::digest::Digest;

use crate::error::Refusal;
use crate::name::{Name, Reference};

/// A resource of the distribution-spec ("Endpoints").
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Base,
    Catalog,
    Blob(Name, Digest),
    Uploads(Name),
    Upload(Name, String),
    Manifest(Name, Reference),
    Tags(Name),
    Referrers(Name, Digest),
}

/// The resource at a percent-decoded path.
pub(crate) fn parse(path: &str) -> Result<Route, Refusal> {
    let rest = match path {
        "/v2" | "/v2/" => return Ok(Route::Base),
        _ => path.strip_prefix("/v2/").ok_or_else(|| Refusal::NoSuchPath { path: path.into() })?,
    };
    if rest == "_catalog" {
        return Ok(Route::Catalog);
    }
    let no_path = || Refusal::NoSuchPath { path: path.into() };
    let name = |text: &str| Name::parse(text).ok_or_else(|| Refusal::InvalidName { name: text.into() });
    let digest = |text: &str| text.parse().map_err(|_| Refusal::InvalidDigest { text: text.into() });

    if let Some(repository) =
        rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads"))
    {
        return Ok(Route::Uploads(name(repository)?));
    }
    if let Some(repository) = rest.strip_suffix("/tags/list") {
        return Ok(Route::Tags(name(repository)?));
    }
    let (front, last) = rest.rsplit_once('/').ok_or_else(no_path)?;
    if let Some(repository) = front.strip_suffix("/blobs/uploads") {
        return Ok(Route::Upload(name(repository)?, last.into()));
    }
    if let Some(repository) = front.strip_suffix("/blobs") {
        return Ok(Route::Blob(name(repository)?, digest(last)?));
    }
    if let Some(repository) = front.strip_suffix("/manifests") {
        let reference = Reference::parse(last);
        return Ok(Route::Manifest(
            name(repository)?,
            reference.ok_or_else(|| Refusal::InvalidReference { text: last.into() })?,
        ));
    }
    if let Some(repository) = front.strip_suffix("/referrers") {
        return Ok(Route::Referrers(name(repository)?, digest(last)?));
    }
    Err(no_path())
}

/// A query string's pairs, percent-decoded; a later pair of the same key wins.
pub(crate) fn query<'a>(text: Option<&'a str>, key: &str) -> Option<String> {
    let pairs = text?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let found = |(name, value): (&'a str, &'a str)| (decode(name)? == key).then(|| decode(value)).flatten();
    pairs.filter_map(found).next_back()
}

/// A text without its percent escapes; nothing where they are malformed or no UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_from_their_end() {
        let name = |text| Name::parse(text).unwrap();
        let digest = Digest::of(b"x");
        for (path, route) in [
            ("/v2".to_owned(), Route::Base),
            ("/v2/".into(), Route::Base),
            ("/v2/_catalog".into(), Route::Catalog),
            ("/v2/a/tags/list".into(), Route::Tags(name("a"))),
            ("/v2/a/b/c/tags/list".into(), Route::Tags(name("a/b/c"))),
            ("/v2/tags/list/tags/list".into(), Route::Tags(name("tags/list"))),
            ("/v2/a/blobs/uploads/".into(), Route::Uploads(name("a"))),
            ("/v2/a/blobs/uploads".into(), Route::Uploads(name("a"))),
            ("/v2/a/blobs/uploads/17".into(), Route::Upload(name("a"), "17".into())),
            (format!("/v2/a/b/blobs/{digest}"), Route::Blob(name("a/b"), digest)),
            ("/v2/blobs/manifests/t".into(), Route::Manifest(name("blobs"), Reference::Tag("t".into()))),
            (format!("/v2/a/manifests/{digest}"), Route::Manifest(name("a"), Reference::Digest(digest))),
            (format!("/v2/a/referrers/{digest}"), Route::Referrers(name("a"), digest)),
        ] {
            assert_eq!(parse(&path).ok(), Some(route), "{path}");
        }
    }

    #[test]
    fn what_is_no_resource_is_refused_with_the_right_code() {
        for (path, code) in [
            ("/", "NOT_FOUND"),
            ("/v1/", "NOT_FOUND"),
            ("/v2/a", "NOT_FOUND"),
            ("/v2/a/tags", "NOT_FOUND"),
            ("/v2//tags/list", "NAME_INVALID"),
            ("/v2/A/tags/list", "NAME_INVALID"),
            ("/v2/a/../b/tags/list", "NAME_INVALID"),
            ("/v2/a/blobs/sha256:1", "DIGEST_INVALID"),
            ("/v2/a/manifests/-", "MANIFEST_INVALID"),
        ] {
            assert_eq!(parse(path).err().map(|refusal| refusal.code()), Some(code), "{path}");
        }
    }

    #[test]
    fn queries_are_decoded() {
        let text = Some("digest=sha256%3Aab&n=3&empty&from=a%2Fb&bad=%zz");
        assert_eq!(query(text, "digest").as_deref(), Some("sha256:ab"));
        assert_eq!(query(text, "from").as_deref(), Some("a/b"));
        assert_eq!(query(text, "n").as_deref(), Some("3"));
        assert_eq!(query(text, "empty").as_deref(), Some(""));
        assert_eq!(query(text, "bad"), None);
        assert_eq!(query(None, "n"), None);
    }
}
