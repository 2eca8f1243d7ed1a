//! Answers Prometheus.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::metric::{CONTENT_TYPE, render};
use crate::reading::Reading;

/// Prometheus needs one connection; the next ones are for people.
const CONNECTIONS: usize = 8;

/// The last reading, once there is one.
pub type Latest = watch::Receiver<Option<Arc<Reading>>>;

/// Serves `/metrics` until it is dropped.
pub async fn serve(listener: TcpListener, latest: Latest) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // No more files, perhaps: that passes.
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        let latest = latest.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let response = respond(&request, &latest);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(90));
            let connection = server.serve_connection(TokioIo::new(stream), answer);
            // A client that goes away is no trouble of ours.
            let _ = connection.await;
            drop(place);
        });
    }
}

fn respond(request: &Request<Incoming>, latest: &Latest) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => match &*latest.borrow() {
            Some(reading) => (StatusCode::OK, render(reading)),
            None => (StatusCode::SERVICE_UNAVAILABLE, "nothing is measured yet\n".to_owned()),
        },
        (&Method::GET | &Method::HEAD, _) => (StatusCode::NOT_FOUND, "ask for /metrics\n".to_owned()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "this can only be read\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(CONTENT_TYPE));
    response
}
