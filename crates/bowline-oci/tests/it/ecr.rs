//! ECR: logins from every source of AWS credentials, renewal, and its ways as a registry.

use std::path::Path;
use std::time::Duration;

use bowline_oci::credential::Credentials;
use bowline_oci::ecr::Ecr;
use bowline_oci::push::push;
use bowline_oci::registry::{Client, Options};
use bowline_oci::store::Store;

use crate::aws::{Aws, KEY, REPOSITORY};
use crate::place::{chain, image_of, item, noise, options, quiet, repository, write};

/// A client whose only way in is the imitation, with these variables.
fn client(aws: &Aws, home: &Path, variables: &[(&str, &str)]) -> Client {
    let url = aws.url();
    let mut all = vec![
        ("AWS_ENDPOINT_URL_ECR", url.as_str()),
        ("AWS_ENDPOINT_URL_STS", url.as_str()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str()),
    ];
    all.extend(variables);
    let ecr = Ecr::new().with_environment(Some(home), &all).with_alias(&aws.host(), "eu-west-1");
    let credentials = Credentials::none().with_ecr(ecr);
    Client::new(Options { credentials, patience: Duration::from_secs(20), ..options() }).unwrap()
}

const KEYS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];

async fn first_key(aws: &Aws, client: &Client) -> String {
    let target = repository(&format!("{}/{REPOSITORY}", aws.host()));
    client.ping(&target).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    aws.state.lock().unwrap().keys.first().cloned().unwrap()
}

#[tokio::test]
async fn credentials_come_from_everywhere_that_aws_tools_look() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), "token", b"the-oidc-token");
    write(
        home.path(),
        ".aws/credentials",
        b"[team]\naws_access_key_id = AKIDEXAMPLEPROFILE\naws_secret_access_key = s\n",
    );
    let empty = tempfile::tempdir().unwrap();
    let token = home.path().join("token").display().to_string();
    let off = ("AWS_EC2_METADATA_DISABLED", "true");
    let aws = Aws::start().await;
    let container = format!("{}/container", aws.url());
    type Case<'a> = (&'a str, &'a Path, Vec<(&'a str, &'a str)>);
    let cases: [Case<'_>; 5] = [
        ("", empty.path(), KEYS.to_vec()),
        ("PROFILE", home.path(), vec![("AWS_PROFILE", "team"), off]),
        (
            "WEB",
            empty.path(),
            vec![
                ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/ci"),
                ("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
                ("AWS_REGION", "eu-west-1"),
                off,
            ],
        ),
        ("CONTAINER", empty.path(), vec![("AWS_CONTAINER_CREDENTIALS_FULL_URI", &container), off]),
        ("INSTANCE", empty.path(), vec![]),
    ];
    for (source, home, variables) in cases {
        aws.state.lock().unwrap().keys.clear();
        let client = client(&aws, home, &variables);
        assert_eq!(first_key(&aws, &client).await, format!("{KEY}{source}"));
    }
}

#[tokio::test]
async fn ecr_is_pushed_to_with_its_own_answers() {
    let (aws, home) = (Aws::start().await, tempfile::tempdir().unwrap());
    let store = Store::open(&home.path().join("cache")).unwrap();
    let client = client(&aws, home.path(), &KEYS);
    let target = repository(&format!("{}/{REPOSITORY}", aws.host()));
    let image = image_of(&store, home.path(), &noise(1 << 20, 3));
    let items = [item("user", &image, "user_v1"), item("room", &image, "room_v1")];
    push(&client, &store, &target, &items, false, &quiet()).await.unwrap();
    // Tags are immutable there: even the same content must not be put again.
    push(&client, &store, &target, &items, false, &quiet()).await.unwrap();
    // Nor is one moved, whoever may want that: waiting does not help, and neither does running it again.
    let other = [item("user", &image_of(&store, home.path(), &noise(1 << 10, 4)), "user_v1")];
    let error = push(&client, &store, &target, &other, true, &quiet()).await.unwrap_err();
    assert!(error.hint().unwrap().contains("release the next one"), "{error:?}");
    let tags = client.tags(&target).await.unwrap();
    assert_eq!(tags, ["room_v1", "user_v1"]);
    let state = aws.state.lock().unwrap();
    assert_eq!(state.tokens, 1, "one login for all of it");
    let puts = state.lines.iter().filter(|line| line.starts_with("PUT /v2/chat/manifests/")).count();
    assert_eq!(puts, 3);
}

#[tokio::test]
async fn an_upload_goes_on_where_it_broke() {
    let (aws, home) = (Aws::start().await, tempfile::tempdir().unwrap());
    let store = Store::open(&home.path().join("cache")).unwrap();
    let client = client(&aws, home.path(), &KEYS);
    let target = repository(&format!("{}/{REPOSITORY}", aws.host()));
    let image = image_of(&store, home.path(), &noise(8 << 20, 3));
    aws.state.lock().unwrap().cut_after = Some(5 << 20);
    push(&client, &store, &target, &[item("user", &image, "user_v1")], false, &quiet()).await.unwrap();
    let state = aws.state.lock().unwrap();
    let count = |text: &str| state.lines.iter().filter(|line| line.starts_with(text)).count();
    // Two sessions, of the layer and of the config, and the layer's was asked how far it came.
    assert_eq!(count("POST /v2/chat/blobs/uploads/"), 2, "{:#?}", state.lines);
    assert_eq!(count("GET /v2/chat/blobs/uploads/"), 1, "{:#?}", state.lines);
}

#[tokio::test]
async fn a_login_is_renewed_before_it_ends_and_when_it_is_refused() {
    let (aws, home) = (Aws::start().await, tempfile::tempdir().unwrap());
    let client = client(&aws, home.path(), &KEYS);
    let target = repository(&format!("{}/{REPOSITORY}", aws.host()));
    // In its last seconds a token is not used any more.
    aws.state.lock().unwrap().life = Some(Duration::from_secs(5));
    client.tags(&target).await.unwrap();
    assert_eq!(aws.state.lock().unwrap().tokens, 1);
    aws.state.lock().unwrap().life = None;
    client.tags(&target).await.unwrap();
    client.tags(&target).await.unwrap();
    assert_eq!(aws.state.lock().unwrap().tokens, 2);
    // Somebody else got a newer one, and the imitation takes only the newest.
    aws.state.lock().unwrap().tokens += 1;
    client.tags(&target).await.unwrap();
    assert_eq!(aws.state.lock().unwrap().tokens, 4);
}

#[tokio::test]
async fn what_aws_refuses_is_told_without_secrets() {
    let (aws, home) = (Aws::start().await, tempfile::tempdir().unwrap());
    let target = repository(&format!("{}/{REPOSITORY}", aws.host()));
    let denied = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLEDENIED"), KEYS[1], KEYS[2]];
    let error = client(&aws, home.path(), &denied).tags(&target).await.unwrap_err();
    let text = chain(&error);
    assert!(text.contains("AccessDeniedException") && text.contains("ecr:GetAuthorizationToken"), "{text}");
    assert!(!text.contains(KEYS[1].1) && !format!("{error:?}").contains(KEYS[1].1), "{text}");
    assert!(error.hint().unwrap().contains("ecr:GetAuthorizationToken"));

    let off = [("AWS_EC2_METADATA_DISABLED", "true")];
    let error = client(&aws, home.path(), &off).tags(&target).await.unwrap_err();
    assert!(chain(&error).contains("wants a login, and there is none"), "{}", chain(&error));

    aws.state.lock().unwrap().revoked = true;
    let error = client(&aws, home.path(), &KEYS).tags(&target).await.unwrap_err();
    assert!(chain(&error).contains("does not accept the login"), "{}", chain(&error));
}

#[tokio::test]
async fn a_repository_that_is_missing_is_told() {
    let (aws, home) = (Aws::start().await, tempfile::tempdir().unwrap());
    let store = Store::open(&home.path().join("cache")).unwrap();
    let image = image_of(&store, home.path(), b"x");
    let target = repository(&format!("{}/other", aws.host()));
    let client = client(&aws, home.path(), &KEYS);
    let error = push(&client, &store, &target, &[item("user", &image, "user_v1")], false, &quiet()).await;
    let text = chain(&error.unwrap_err());
    assert!(text.contains("NAME_UNKNOWN"), "{text}");
}
