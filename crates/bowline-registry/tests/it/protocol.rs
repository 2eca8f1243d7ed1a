//! The distribution-spec, request by request.

use bowline_core::digest::Digest;
use serde_json::{Value, json};

use crate::served::{INDEX, Served, code, descriptor, header, image};

#[tokio::test]
async fn the_root_says_which_api_this_is() {
    let served = Served::start().await;
    for path in ["/v2/", "/v2"] {
        let answer = served.send("GET", path).await;
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "docker-distribution-api-version").as_str()),
            (200, "registry/2.0")
        );
    }
}

#[tokio::test]
async fn refusals_have_the_codes_of_the_specification() {
    let served = Served::start().await;
    served.push_image("a/b", "t", b"layer").await;
    let (none, digest) = (Digest::of(b"none"), Digest::of(b"layer"));
    for (method, path, status, expected) in [
        ("GET", "/v2/a/b/manifests/missing".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("GET", format!("/v2/a/b/manifests/{none}"), 404, "MANIFEST_UNKNOWN"),
        ("GET", format!("/v2/a/b/manifests/{digest}"), 404, "MANIFEST_UNKNOWN"),
        ("GET", format!("/v2/a/b/blobs/{none}"), 404, "BLOB_UNKNOWN"),
        ("GET", format!("/v2/other/blobs/{digest}"), 404, "BLOB_UNKNOWN"),
        ("GET", "/v2/a/b/blobs/sha256:1".into(), 400, "DIGEST_INVALID"),
        ("GET", "/v2/nobody/tags/list".into(), 404, "NAME_UNKNOWN"),
        ("GET", "/v2/Upper/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/a%2f..%2fb/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/a/b/tags/list?n=x".into(), 400, "PAGINATION_NUMBER_INVALID"),
        ("GET", "/elsewhere".into(), 404, "NOT_FOUND"),
        ("POST", "/v2/".into(), 405, "UNSUPPORTED"),
        ("POST", format!("/v2/a/b/blobs/{digest}"), 405, "UNSUPPORTED"),
        ("POST", "/v2/a/b/manifests/t".into(), 405, "UNSUPPORTED"),
        ("GET", "/v2/a/b/blobs/uploads/".into(), 405, "UNSUPPORTED"),
        ("GET", "/v2/a/b/blobs/uploads/none".into(), 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PATCH", "/v2/a/b/blobs/uploads/none".into(), 404, "BLOB_UPLOAD_UNKNOWN"),
        ("DELETE", "/v2/a/b/blobs/uploads/none".into(), 404, "BLOB_UPLOAD_UNKNOWN"),
        ("POST", "/v2/a/b/blobs/uploads/?mount=x".into(), 400, "DIGEST_INVALID"),
        ("POST", "/v2/a/b/blobs/uploads/?digest=sha512:00".into(), 400, "DIGEST_INVALID"),
        ("POST", format!("/v2/a/b/blobs/uploads/?digest={digest}"), 400, "DIGEST_INVALID"),
        ("DELETE", format!("/v2/a/b/blobs/{none}"), 404, "BLOB_UNKNOWN"),
        ("DELETE", format!("/v2/a/b/blobs/{digest}"), 405, "UNSUPPORTED"),
        ("DELETE", "/v2/a/b/manifests/missing".into(), 404, "MANIFEST_UNKNOWN"),
        ("PUT", "/v2/a/b/manifests/t".into(), 400, "MANIFEST_INVALID"),
        ("PUT", "/v2/a/b/manifests/.t".into(), 400, "MANIFEST_INVALID"),
    ] {
        let answer = served.send(method, &path).await;
        assert_eq!(answer.status(), status, "{method} {path}");
        assert_eq!(code(answer).await, expected, "{method} {path}");
    }
}

#[tokio::test]
async fn a_blob_goes_up_in_every_way_and_comes_back_whole() {
    let served = Served::start().await;
    let content = b"some content".as_slice();
    let digest = Digest::of(content);
    for (name, way) in [("one", "post"), ("two", "put"), ("three", "patch"), ("four", "chunks")] {
        let uploads = format!("/v2/{name}/blobs/uploads/");
        let done = if way == "post" {
            let path = format!("{uploads}?digest={digest}");
            served.ask("POST", &path).body(content).send().await.unwrap()
        } else {
            let begun = served.send("POST", &uploads).await;
            assert_eq!((begun.status().as_u16(), header(&begun, "range").as_str()), (202, "0-0"));
            let place = header(&begun, "location");
            let chunks: &[&[u8]] = match way {
                "put" => &[],
                "patch" => &[content],
                _ => &[b"some", b" con", b"tent"],
            };
            let mut length = 0;
            for chunk in chunks {
                let range = format!("{length}-{}", length + chunk.len() - 1);
                let request = served.ask("PATCH", &place).header("content-range", range).body(chunk.to_vec());
                let answer = request.send().await.unwrap();
                length += chunk.len();
                assert_eq!(
                    (answer.status().as_u16(), header(&answer, "range")),
                    (202, format!("0-{}", length - 1))
                );
            }
            let rest = if way == "put" { content.to_vec() } else { Vec::new() };
            served.ask("PUT", &format!("{place}?digest={digest}")).body(rest).send().await.unwrap()
        };
        assert_eq!(done.status(), 201, "{way}");
        assert_eq!(header(&done, "docker-content-digest"), digest.to_string());
        let place = header(&done, "location");
        let head = served.send("HEAD", &place).await;
        assert_eq!((head.status().as_u16(), header(&head, "content-length").as_str()), (200, "12"));
        assert_eq!(served.send("GET", &place).await.bytes().await.unwrap(), content, "{way}");
        assert_eq!(std::fs::read_dir(served.directory().join("staging")).unwrap().count(), 0, "{way}");
    }
}

#[tokio::test]
async fn a_part_of_a_blob_can_be_asked_for() {
    let served = Served::start().await;
    let blob = served.push_blob("a", b"0123456789").await;
    let path = format!("/v2/a/blobs/{}", blob["digest"].as_str().unwrap());
    for (range, status, span, body) in [
        ("bytes=0-3", 206, "bytes 0-3/10", "0123"),
        ("bytes=7-", 206, "bytes 7-9/10", "789"),
        ("bytes=-2", 206, "bytes 8-9/10", "89"),
        ("bytes=0-1,3-4", 200, "", "0123456789"),
    ] {
        let answer = served.ask("GET", &path).header("range", range).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "content-range").as_str()),
            (status, span),
            "{range}"
        );
        assert_eq!(answer.text().await.unwrap(), body, "{range}");
    }
    let answer = served.ask("GET", &path).header("range", "bytes=10-").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), header(&answer, "content-range").as_str()), (416, "bytes */10"));
}

#[tokio::test]
async fn an_upload_goes_on_where_it_stands_and_nowhere_else() {
    let served = Served::start().await;
    let begun = served.send("POST", "/v2/a/blobs/uploads/").await;
    let place = header(&begun, "location");
    let patch = |range: &'static str, body: &'static str| {
        served.ask("PATCH", &place).header("content-range", range).body(body).send()
    };
    for (range, body, status, stands) in [
        ("5-9", "56789", 416, "0-0"),
        ("0-4", "01234", 202, "0-4"),
        ("0-4", "01234", 416, "0-4"),
        ("6-9", "6789", 416, "0-4"),
        ("5-6", "too long", 400, ""),
        ("5-4", "", 400, ""),
        ("nonsense", "56789", 400, ""),
        ("5-9", "56789", 202, "0-9"),
    ] {
        let answer = patch(range, body).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "range").as_str()),
            (status, stands),
            "{range}"
        );
    }
    // A body of unknown length is counted as it comes, and what was too much is taken back.
    let stream =
        reqwest::Body::wrap_stream(futures_util::stream::iter([Ok::<_, std::io::Error>("much too long")]));
    let answer =
        served.ask("PATCH", &place).header("content-range", "10-11").body(stream).send().await.unwrap();
    assert_eq!(code(answer).await, "BLOB_UPLOAD_INVALID");
    let status = served.send("GET", &place).await;
    assert_eq!((status.status().as_u16(), header(&status, "range").as_str()), (204, "0-9"));
    assert_eq!(header(&status, "location"), place);
    // Another repository's upload is not this one's.
    assert_eq!(served.send("GET", &place.replace("/a/", "/b/")).await.status(), 404);
    let digest = Digest::of(b"0123456789");
    let done = served.send("PUT", &format!("{place}?digest={digest}")).await;
    assert_eq!(done.status(), 201);
    assert_eq!(served.send("GET", &place).await.status(), 404);
}

#[tokio::test]
async fn an_upload_is_cancelled_and_a_wrong_digest_ends_it() {
    let served = Served::start().await;
    let place = header(&served.send("POST", "/v2/a/blobs/uploads/").await, "location");
    assert_eq!(served.send("DELETE", &place).await.status(), 204);
    assert_eq!(served.send("DELETE", &place).await.status(), 404);

    let place = header(&served.send("POST", "/v2/a/blobs/uploads/").await, "location");
    served.ask("PATCH", &place).body("content").send().await.unwrap();
    assert_eq!(code(served.send("PUT", &place).await).await, "DIGEST_INVALID");
    assert_eq!(
        code(served.send("PUT", &format!("{place}?digest={}", Digest::of(b""))).await).await,
        "DIGEST_INVALID"
    );
    assert_eq!(served.send("GET", &place).await.status(), 404);
    assert_eq!(std::fs::read_dir(served.directory().join("staging")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_blob_is_mounted_from_a_repository_that_has_it() {
    let served = Served::start().await;
    let digest = served.push_blob("here/deep/down", b"shared").await["digest"].as_str().unwrap().to_owned();
    for (name, query, status) in [
        ("one", format!("mount={digest}&from=here/deep/down"), 201),
        ("two", format!("mount={digest}&from=here%2Fdeep%2Fdown"), 201),
        ("three", format!("mount={digest}"), 201),
        ("four", format!("mount={digest}&from=not/there"), 202),
        ("five", format!("mount={digest}&from=NOT"), 202),
        ("six", format!("mount={}&from=here/deep/down", Digest::of(b"?")), 202),
        ("seven", format!("mount={}", Digest::of(b"?")), 202),
    ] {
        let answer = served.send("POST", &format!("/v2/{name}/blobs/uploads/?{query}")).await;
        assert_eq!(answer.status(), status, "{query}");
        let there = served.send("HEAD", &format!("/v2/{name}/blobs/{digest}")).await.status();
        assert_eq!(there, if status == 201 { 200 } else { 404 }, "{query}");
    }
}

#[tokio::test]
async fn a_manifest_comes_back_byte_for_byte_by_tag_and_digest() {
    let served = Served::start().await;
    let (manifest, digest) = served.push_image("main-service/user", "user_v5.0.2-b321acf", b"layer").await;
    for reference in
        ["user_v5.0.2-b321acf".to_owned(), digest.to_string(), digest.to_string().replace(':', "%3A")]
    {
        let path = format!("/v2/main-service/user/manifests/{reference}");
        let head = served.send("HEAD", &path).await;
        assert_eq!(header(&head, "content-length"), manifest.to_string().len().to_string());
        let answer = served.send("GET", &path).await;
        assert_eq!(header(&answer, "docker-content-digest"), digest.to_string());
        assert_eq!(header(&answer, "content-type"), manifest["mediaType"].as_str().unwrap());
        assert_eq!(answer.text().await.unwrap(), manifest.to_string());
    }
}

#[tokio::test]
async fn a_manifest_needs_what_it_names() {
    let served = Served::start().await;
    let config = served.push_blob("a", b"{}").await;
    let missing = image(config.clone(), vec![descriptor(b"missing")]);
    assert_eq!(code(served.put_manifest("a", "t", &missing).await).await, "MANIFEST_BLOB_UNKNOWN");
    let mut wrong = config.clone();
    wrong["size"] = json!(3);
    assert_eq!(code(served.put_manifest("a", "t", &image(wrong, vec![])).await).await, "SIZE_INVALID");
    let child = image(config, vec![]);
    let mut index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(child.to_string().as_bytes())]});
    assert_eq!(code(served.put_manifest("a", "t", &index).await).await, "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(served.send("GET", "/v2/a/tags/list").await.status(), 404, "nothing was stored");

    let digest = Digest::of(child.to_string().as_bytes());
    assert_eq!(
        code(served.put_manifest("a", &Digest::of(b"").to_string(), &child).await).await,
        "DIGEST_INVALID"
    );
    assert_eq!(served.put_manifest("a", &digest.to_string(), &child).await.status(), 201);
    assert_eq!(served.put_manifest("a", "t", &index).await.status(), 201);
    // While the index names it, the child stays.
    let path = format!("/v2/a/manifests/{digest}");
    assert_eq!(code(served.send("DELETE", &path).await).await, "UNSUPPORTED");
    // A blob is no manifest, even of the same bytes.
    index["manifests"] = json!([served.push_blob("a", b"just a blob").await]);
    assert_eq!(code(served.put_manifest("a", "t", &index).await).await, "MANIFEST_BLOB_UNKNOWN");
}

#[tokio::test]
async fn a_manifest_may_have_four_mebibytes_and_no_more() {
    let served = Served::start().await;
    let config = served.push_blob("a", b"{}").await;
    let mut manifest = image(config, vec![]);
    manifest["annotations"] = json!({"fill": ""});
    let room = 4 * 1024 * 1024 - manifest.to_string().len();
    manifest["annotations"]["fill"] = json!("x".repeat(room));
    assert_eq!(served.put_manifest("a", "full", &manifest).await.status(), 201);
    manifest["annotations"]["fill"] = json!("x".repeat(room + 1));
    assert_eq!(served.put_manifest("a", "over", &manifest).await.status(), 413);
}

#[tokio::test]
async fn a_tag_is_written_once_where_that_is_asked_for() {
    let served = Served::start().await;
    let first = image(served.push_blob("a", b"1").await, vec![]);
    let second = image(served.push_blob("a", b"2").await, vec![]);
    let put = |manifest: &Value| {
        let request = served.ask("PUT", "/v2/a/manifests/v5.0.2-b321acf").header("if-none-match", "*");
        request
            .header("content-type", manifest["mediaType"].as_str().unwrap())
            .body(manifest.to_string())
            .send()
    };
    assert_eq!(put(&first).await.unwrap().status(), 201);
    assert_eq!(put(&first).await.unwrap().status(), 201, "the same again is no conflict");
    let refused = put(&second).await.unwrap();
    assert_eq!(refused.status(), 412);
    assert_eq!(code(refused).await, "TAG_EXISTS");
    let now = served.send("GET", "/v2/a/manifests/v5.0.2-b321acf").await.text().await.unwrap();
    assert_eq!(now, first.to_string());
    // Without the condition a tag moves, as everywhere.
    assert_eq!(served.put_manifest("a", "v5.0.2-b321acf", &second).await.status(), 201);
}

#[tokio::test]
async fn tags_are_listed_in_order_and_in_pages() {
    let served = Served::start().await;
    for tag in ["user_v2", "chat_v1", "user_v10", "Z", "latest"] {
        served.push_image("a/b", tag, b"layer").await;
    }
    let list = async |path: &str| {
        let answer = served.send("GET", path).await;
        let link = header(&answer, "link");
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(body["name"], "a/b");
        let tags = body["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned());
        (tags.collect::<Vec<_>>().join(" "), link)
    };
    assert_eq!(list("/v2/a/b/tags/list").await, ("Z chat_v1 latest user_v10 user_v2".into(), String::new()));
    let (tags, link) = list("/v2/a/b/tags/list?n=2").await;
    assert_eq!(
        (tags.as_str(), link.as_str()),
        ("Z chat_v1", "</v2/a/b/tags/list?n=2&last=chat_v1>; rel=\"next\"")
    );
    assert_eq!(list("/v2/a/b/tags/list?n=2&last=latest").await, ("user_v10 user_v2".into(), String::new()));
    assert_eq!(list("/v2/a/b/tags/list?n=0").await.0, "");
    assert_eq!(list("/v2/a/b/tags/list?last=user_v1").await.0, "user_v10 user_v2");
}

#[tokio::test]
async fn the_catalog_lists_repositories_that_hold_something() {
    let served = Served::start().await;
    for name in ["z", "a/b/c/d", "a", "m-1/x"] {
        served.push_image(name, "t", b"layer").await;
    }
    served.push_blob("only/blobs", b"x").await;
    let answer = served.send("GET", "/v2/_catalog").await.text().await.unwrap();
    assert_eq!(answer, r#"{"repositories":["a","a/b/c/d","m-1/x","z"]}"#);
    let answer = served.send("GET", "/v2/_catalog?n=1&last=a").await;
    assert_eq!(header(&answer, "link"), "</v2/_catalog?n=1&last=a/b/c/d>; rel=\"next\"");
}

#[tokio::test]
async fn a_tag_or_a_manifest_with_all_its_tags_is_deleted() {
    let served = Served::start().await;
    let (_, digest) = served.push_image("a", "one", b"layer").await;
    served.push_image("a", "two", b"layer").await;
    served.push_image("a", "other", b"other layer").await;
    assert_eq!(served.send("DELETE", "/v2/a/manifests/one").await.status(), 202);
    assert_eq!(served.send("GET", "/v2/a/manifests/one").await.status(), 404);
    assert_eq!(served.send("GET", "/v2/a/manifests/two").await.status(), 200);
    let path = format!("/v2/a/manifests/{digest}");
    assert_eq!(served.send("DELETE", &path).await.status(), 202);
    assert_eq!(served.send("GET", &path).await.status(), 404);
    let tags = served.send("GET", "/v2/a/tags/list").await.text().await.unwrap();
    assert_eq!(tags, r#"{"name":"a","tags":["other"]}"#);
    let layer = format!("/v2/a/blobs/{}", Digest::of(b"layer"));
    assert_eq!(served.send("DELETE", &layer).await.status(), 202);
    assert_eq!(served.send("GET", &layer).await.status(), 404);
}

#[tokio::test]
async fn referrers_are_found_by_what_they_are_about() {
    let served = Served::start().await;
    let (subject, digest) = served.push_image("a", "t", b"layer").await;
    let config = served.push_blob("a", b"{}").await;
    let about = |kind: &str| {
        let mut manifest = image(config.clone(), vec![]);
        manifest["subject"] = descriptor(subject.to_string().as_bytes());
        if !kind.is_empty() {
            manifest["artifactType"] = json!(kind);
        }
        manifest["annotations"] = json!({"note": kind});
        manifest
    };
    let path = format!("/v2/a/referrers/{digest}");
    let list = async |path: &str| -> (Value, String) {
        let answer = served.send("GET", path).await;
        assert_eq!((answer.status().as_u16(), header(&answer, "content-type").as_str()), (200, INDEX));
        let filters = header(&answer, "oci-filters-applied");
        (serde_json::from_str(&answer.text().await.unwrap()).unwrap(), filters)
    };
    assert_eq!(list(&path).await.0["manifests"], json!([]));
    for (tag, kind) in [("s", "kind/sbom"), ("p", "kind/provenance"), ("n", "")] {
        let answer = served.put_manifest("a", tag, &about(kind)).await;
        assert_eq!((answer.status().as_u16(), header(&answer, "oci-subject")), (201, digest.to_string()));
    }
    assert_eq!(list(&path).await.0["manifests"].as_array().unwrap().len(), 3);
    let (found, filters) = list(&format!("{path}?artifactType=kind%2Fsbom")).await;
    assert_eq!(filters, "artifactType");
    let sbom = about("kind/sbom").to_string();
    assert_eq!(
        found["manifests"],
        json!([{"mediaType": image(json!(0), vec![])["mediaType"], "digest": Digest::of(sbom.as_bytes()),
                "size": sbom.len(), "artifactType": "kind/sbom", "annotations": {"note": "kind/sbom"}}])
    );
    // Without a type of its own it has its config's.
    let (found, _) = list(&format!("{path}?artifactType=application/octet-stream")).await;
    assert_eq!(found["manifests"].as_array().unwrap().len(), 1);
    let deleted = served.send("DELETE", &format!("/v2/a/manifests/{}", Digest::of(sbom.as_bytes()))).await;
    assert_eq!(deleted.status(), 202);
    assert_eq!(list(&path).await.0["manifests"].as_array().unwrap().len(), 2);
    // A subject need not exist yet.
    let (found, _) = list(&format!("/v2/nobody/referrers/{}", Digest::of(b"x"))).await;
    assert_eq!(found["manifests"], json!([]));
}
