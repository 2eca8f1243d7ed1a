use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use bowline_gate::instance::fetch_type;

/// A stand-in for EC2's metadata service, as its documentation tells: a token by PUT, and nothing without one.
fn serve(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut bytes = [0; 4096];
            let length = stream.read(&mut bytes).unwrap();
            let request = String::from_utf8_lossy(&bytes[..length]).to_lowercase();
            let (status, body) = if request.starts_with("put /latest/api/token ")
                && request.contains("x-aws-ec2-metadata-token-ttl-seconds: 60")
            {
                ("200 OK", "AQAEAGV4YW1wbGU=")
            } else if request.starts_with("get /latest/meta-data/instance-type ")
                && request.contains("x-aws-ec2-metadata-token: aqaeagv4yw1wbgu=")
            {
                ("200 OK", answer)
            } else {
                ("401 Unauthorized", "")
            };
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        }
    });
    address
}

#[tokio::test]
async fn the_type_of_the_machine_is_asked_with_a_token() {
    assert_eq!(fetch_type(serve("t2.micro")).await.unwrap(), "t2.micro");
    assert!(fetch_type(serve("<html>a captive portal</html>")).await.is_err());
    assert!(fetch_type(serve("")).await.is_err());
}

#[tokio::test]
async fn who_does_not_answer_is_not_waited_for() {
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let begin = Instant::now();
    let error = fetch_type(deaf.local_addr().unwrap()).await.unwrap_err();
    assert_eq!(error.to_string(), "no answer within 1 s");
    assert!(begin.elapsed() < Duration::from_secs(4));
}
