//! Many at once.

use std::time::Duration;

use bowline_core::digest::Digest;
use futures_util::future::join_all;
use serde_json::Value;

use crate::served::{Served, header, image};

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_contenders_for_a_tag_one_wins() {
    let served = Served::start().await;
    let mut manifests = Vec::new();
    for number in 0..50 {
        manifests.push(image(served.push_blob("a", format!("{number}").as_bytes()).await, vec![]));
    }
    let contenders = manifests.iter().map(async |manifest: &Value| {
        let request = served.ask("PUT", "/v2/a/manifests/v1.0.0-abc1234").header("if-none-match", "*");
        let request = request.header("content-type", manifest["mediaType"].as_str().unwrap());
        request.body(manifest.to_string()).send().await.unwrap().status().as_u16()
    });
    let statuses = join_all(contenders).await;
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 49, "{statuses:?}");
    let winner = statuses.iter().position(|status| *status == 201).unwrap();
    let stored = served.send("GET", "/v2/a/manifests/v1.0.0-abc1234").await.text().await.unwrap();
    assert_eq!(stored, manifests[winner].to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_blob_pushed_by_many_at_once_is_whole() {
    let served = Served::start().await;
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    join_all((0..8).map(async |number| served.push_blob(&format!("r{number}"), &content).await)).await;
    for number in 0..8 {
        let path = format!("/v2/r{number}/blobs/{}", Digest::of(&content));
        assert_eq!(served.send("GET", &path).await.bytes().await.unwrap(), content);
    }
}

#[tokio::test]
async fn collection_takes_what_nothing_needs_and_nothing_else() {
    let served = Served::start().await;
    let (_, digest) = served.push_image("a", "gone", b"old layer").await;
    served.push_image("a", "stays", b"new layer").await;
    served.push_image("b", "stays", b"shared layer").await;
    served.push_blob("a", b"shared layer").await;
    served.send("DELETE", &format!("/v2/a/manifests/{digest}")).await;
    let spared = served.store.collect(Duration::from_secs(600)).unwrap();
    assert_eq!(spared.blobs, 1, "the manifest goes, its blobs are too young: {spared:?}");
    let collected = served.store.collect(Duration::ZERO).unwrap();
    assert_eq!((collected.blobs, collected.bytes), (1, b"old layer".len() as u64));
    for (name, layer, status) in [
        ("a", "new layer", 200),
        ("a", "old layer", 404),
        ("a", "shared layer", 404),
        ("b", "shared layer", 200),
        ("a", "{}", 200),
    ] {
        let path = format!("/v2/{name}/blobs/{}", Digest::of(layer.as_bytes()));
        assert_eq!(served.send("HEAD", &path).await.status(), status, "{name} {layer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn collecting_all_the_time_breaks_no_push_that_is_spared() {
    let served = Served::start().await;
    let store = served.store.clone();
    let collector = tokio::task::spawn_blocking(move || {
        for _ in 0..200 {
            store.collect(Duration::from_secs(60)).unwrap();
        }
    });
    let pushes = (0..4).map(async |who| {
        for number in 0..15 {
            let layer = format!("layer {who} {number}");
            served.push_image("a", &format!("t{who}-{number}"), layer.as_bytes()).await;
        }
    });
    join_all(pushes).await;
    collector.await.unwrap();
    for who in 0..4 {
        for number in 0..15 {
            let path = format!("/v2/a/blobs/{}", Digest::of(format!("layer {who} {number}").as_bytes()));
            assert_eq!(served.send("HEAD", &path).await.status(), 200);
        }
    }
}

#[tokio::test]
async fn an_upload_whose_connection_broke_goes_on_where_it_was() {
    use tokio::io::AsyncWriteExt as _;
    let served = Served::start().await;
    let content: Vec<u8> = (0..400_000_u32).flat_map(u32::to_le_bytes).collect();
    let place = header(&served.send("POST", "/v2/a/blobs/uploads/").await, "location");
    let mut stream = tokio::net::TcpStream::connect(&served.address).await.unwrap();
    let head =
        format!("PATCH {place} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", content.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&content[..1_000_000]).await.unwrap();
    stream.flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let status = served.send("GET", &place).await;
    let range = header(&status, "range");
    let arrived = range.strip_prefix("0-").unwrap().parse::<usize>().unwrap() + 1;
    assert!((1..=1_000_000).contains(&arrived), "{range}");
    let rest = content[arrived..].to_vec();
    let range = format!("{arrived}-{}", content.len() - 1);
    let answer = served.ask("PATCH", &place).header("content-range", range).body(rest).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let done = served.send("PUT", &format!("{place}?digest={}", Digest::of(&content))).await;
    assert_eq!(done.status(), 201);
}
