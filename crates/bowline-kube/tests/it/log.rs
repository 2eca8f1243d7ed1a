use std::time::Duration;

use bowline_kube::exec::Place;
use bowline_kube::log::{Beginning, Source};
use bowline_kube::{Cluster, KubeError};
use serde_json::{Value, json};

use crate::stage::{self, Stage};

async fn start(cluster: &Cluster, namespace: &str, image: &str, script: &str) {
    stage::make_namespace(cluster, namespace).await;
    let container = json!({"name": "app", "image": image, "command": ["sh", "-c", script]});
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": "user"}}, "template": {
        "metadata": {"labels": {"app": "user"}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }});
    let deployment = json!({"metadata": {"name": "user"}, "spec": spec});
    stage::post(cluster, &format!("/apis/apps/v1/namespaces/{namespace}/deployments"), deployment).await;
}

/// The first pod for which something holds, within a minute.
async fn pod(cluster: &Cluster, namespace: &str, holds: impl Fn(&Value) -> bool) -> String {
    for _ in 0..240 {
        let pods = stage::get(cluster, &format!("/api/v1/namespaces/{namespace}/pods")).await;
        if let Some(pod) = pods["items"].as_array().unwrap().iter().find(|pod| holds(pod)) {
            return pod["metadata"]["name"].as_str().unwrap().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("no such pod within a minute");
}

fn status(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_followed_over_restarts_and_the_previous_instance_is_read() {
    let Some(stage) = Stage::open("log").await else { return };
    let Some(image) = stage.room.shell_image() else { return };
    let (cluster, namespace) = (stage.cluster.clone(), stage.namespace().to_owned());
    let subject = stage::subject("apps", "Deployment", "deployments", &namespace, "user");
    start(&cluster, &namespace, &image, "for n in 1 2 3; do echo line $n; sleep 1; done; exit 3").await;
    let mut lines = cluster.log_follow(vec![subject], Beginning::default());
    let follow = async {
        let mut texts = Vec::new();
        while texts.len() < 6 {
            let line = lines.recv().await.unwrap().unwrap();
            assert!(line.source.to_string().ends_with("/app"), "{}", line.source);
            texts.push(line.text);
        }
        texts
    };
    let texts = tokio::time::timeout(Duration::from_secs(60), follow).await.unwrap();
    assert_eq!(texts, ["line 1", "line 2", "line 3", "line 1", "line 2", "line 3"]);
    let restarted = |pod: &Value| {
        status(pod)["restartCount"].as_u64().is_some_and(|count| count > 0)
            && status(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    };
    let pod = pod(&cluster, &namespace, restarted).await;
    let source = Source { namespace: namespace.clone(), pod, container: "app".into(), workload: None };
    let tail = cluster.log_tail(&source, 2, false).await.unwrap();
    assert_eq!(tail.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["line 2", "line 3"]);
    assert!(tail[0].time.parse::<jiff::Timestamp>().is_ok(), "{}", tail[0].time);
    let previous = cluster.log_tail(&source, 9, true).await.unwrap();
    assert_eq!(previous.len(), 3);
    let missing = Source { container: "nobody".into(), ..source };
    assert!(cluster.log_tail(&missing, 1, false).await.is_err());
}

/// What came of a command.
struct Output {
    code: i32,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Runs a command that reads nothing to its end.
async fn exec_output(cluster: &Cluster, place: &Place, command: &[String]) -> Result<Output, KubeError> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let streams = bowline_kube::exec::Streams {
        stdin: None::<tokio::io::Empty>,
        stdout: &mut stdout,
        stderr: &mut stderr,
        terminal: None,
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), cluster.exec(place, command, streams)).await;
    let code = ended.expect("the command did not end within 20 s")?;
    Ok(Output { code, stdout, stderr })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gives_its_output_its_input_and_its_exit_code() {
    let Some(stage) = Stage::open("exec").await else { return };
    let Some(image) = stage.room.shell_image() else { return };
    let (cluster, namespace) = (stage.cluster.clone(), stage.namespace().to_owned());
    start(&cluster, &namespace, &image, "sleep 1000").await;
    let pod = pod(&cluster, &namespace, |pod| status(pod)["ready"] == true).await;
    let place = Place { namespace: namespace.clone(), pod, container: Some("app".into()) };
    let run = |script: &str| {
        let command = ["sh", "-c", script].map(str::to_owned);
        let (cluster, place) = (cluster.clone(), place.clone());
        async move { exec_output(&cluster, &place, &command).await }
    };
    let output = run("echo out; echo err >&2; exit 7").await.unwrap();
    assert_eq!(
        (output.code, output.stdout.as_slice(), output.stderr.as_slice()),
        (7, &b"out\n"[..], &b"err\n"[..])
    );
    let output = run("i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done").await.unwrap();
    assert_eq!((output.code, output.stdout.len()), (0, 220_000));
    let nothing = ["no-such-program".to_owned()];
    let error = exec_output(&cluster, &place, &nothing).await;
    assert!(error.is_err() || error.is_ok_and(|output| output.code != 0));

    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let streams = bowline_kube::exec::Streams {
        stdin: Some(&b"echo $((6*7)); exit 4\n"[..]),
        stdout: &mut stdout,
        stderr: &mut stderr,
        terminal: None,
    };
    let code = cluster.exec(&place, &["sh".to_owned()], streams).await.unwrap();
    assert_eq!(
        (code, String::from_utf8_lossy(&stdout).trim()),
        (4, "42"),
        "{}",
        String::from_utf8_lossy(&stderr)
    );

    let (_sizes, terminal) = tokio::sync::watch::channel((101, 31));
    let mut stdout = Vec::new();
    let streams = bowline_kube::exec::Streams {
        stdin: None::<tokio::io::Empty>,
        stdout: &mut stdout,
        stderr: &mut stderr,
        terminal: Some(terminal),
    };
    let size = ["sh", "-c", "sleep 1; stty size; exit 5"].map(str::to_owned);
    let code = cluster.exec(&place, &size, streams).await.unwrap();
    assert_eq!((code, String::from_utf8_lossy(&stdout).trim()), (5, "31 101"));
}
