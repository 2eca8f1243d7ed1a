//! Load at rising rates against a URL: an open loop, in which requests leave when they are due, whatever became of those
//! before. Latency counts from when a request was due, so that one that had to wait for its turn is not hidden.

use std::time::Duration;

use bowline_core::capacity::scaling::Point;
use reqwest::header::LOCATION;
use reqwest::{Client, Url};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// How the load rises.
#[derive(Debug, Clone)]
pub struct Slope {
    /// Requests in a second of the first step.
    pub from: f64,
    /// The most that are tried.
    pub to: f64,
    /// By which each step is more than the one before; above 1.
    pub factor: f64,
    /// How long a step lasts.
    pub step: Duration,
    /// How long a request may take.
    pub patience: Duration,
    /// Above this part of failures there is no next step.
    pub errors: f64,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Requests in a second that were sent.
    pub offered: f64,
    /// And those that were answered well.
    pub answered: f64,
    /// How many were sent.
    pub sent: usize,
    /// How many failed: no answer in time, or one that says so.
    pub failed: usize,
    /// Latencies that so many of a hundred did not exceed, in milliseconds: 50, 95, 99; none where nothing was answered.
    pub latency: Option<(f64, f64, f64)>,
    /// How many were under way on average.
    pub concurrency: f64,
    /// Where the first answer points that sent elsewhere. Nobody went there, and it counts as answered well.
    pub redirected: Option<String>,
}

/// Why the load rises no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The highest rate was reached.
    Reached,
    /// Too many failed.
    Errors,
    /// Fewer were answered than were sent: it is saturated.
    Saturated,
}

/// Most requests that may be under way: what is more says nothing new about whoever answers, and much about this machine.
const MOST: usize = 4_000;
/// Where less than this part of what was sent is answered within a step, it is saturated.
const KEPT_UP: f64 = 0.9;

impl Step {
    /// As a point of the scalability law.
    pub fn point(&self) -> Point {
        Point { concurrency: self.concurrency, throughput: self.answered }
    }
}

/// Loads a URL until it fails, is saturated, or the highest rate is reached; `told` hears of each step. The client must
/// follow no redirects ([`client_without_redirects`](crate::http::client_without_redirects)).
pub async fn raise(
    client: &Client,
    url: &Url,
    slope: &Slope,
    mut told: impl FnMut(&Step),
) -> (Vec<Step>, End) {
    let (mut steps, mut rate) = (Vec::new(), slope.from);
    loop {
        let step = load(client, url, rate, slope).await;
        told(&step);
        let failing = step.failed as f64 > step.sent as f64 * slope.errors;
        let behind = step.answered < step.offered * KEPT_UP;
        steps.push(step);
        if failing {
            return (steps, End::Errors);
        } else if behind {
            return (steps, End::Saturated);
        } else if rate >= slope.to {
            return (steps, End::Reached);
        }
        rate = (rate * slope.factor).min(slope.to);
    }
}

/// One step, and its stragglers.
async fn load(client: &Client, url: &Url, rate: f64, slope: &Slope) -> Step {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let begin = Instant::now();
    let end = begin + slope.step;
    let (mut sent, mut refused) = (0_usize, 0_usize);
    loop {
        let due = begin + Duration::from_secs_f64(sent as f64 / rate);
        if due >= end {
            break;
        }
        sleep_until(due).await;
        sent += 1;
        // Each request that is under way holds one sender.
        if sender.strong_count() > MOST {
            refused += 1;
            continue;
        }
        let (client, url, sender, patience) = (client.clone(), url.clone(), sender.clone(), slope.patience);
        tokio::spawn(async move {
            let answer = ask(&client, url, patience).await;
            let _ = sender.send((due.elapsed(), due + due.elapsed(), answer));
        });
    }
    drop(sender);
    let (mut latencies, mut ends, mut busy, mut redirected) = (Vec::new(), Vec::new(), 0.0, None);
    while let Some((latency, at, answer)) = receiver.recv().await {
        busy += latency.as_secs_f64();
        if let Answer::Elsewhere(to) = &answer {
            redirected.get_or_insert_with(|| to.clone());
        }
        if answer != Answer::Failed {
            latencies.push(latency.as_secs_f64() * 1000.0);
            ends.push(at);
        }
    }
    latencies.sort_unstable_by(f64::total_cmp);
    // What is answered long after the step does not show what can be answered in a second; what only takes its usual time
    // does.
    let usual = Duration::from_secs_f64(
        percentile(&latencies, 50).unwrap_or(0.0).min(slope.patience.as_secs_f64() * 1000.0) / 1000.0,
    );
    let first = latencies.first().copied().unwrap_or(0.0) / 1000.0;
    let late = end + usual.min(Duration::from_secs_f64(first * 2.0)) + Duration::from_millis(250);
    let within = ends.iter().filter(|at| **at <= late).count();
    let seconds = slope.step.as_secs_f64();
    let answered = within as f64 / seconds;
    let done = (sent - refused) as f64;
    let mean = if done > 0.0 { busy / done } else { 0.0 };
    Step {
        offered: sent as f64 / seconds,
        answered,
        sent,
        failed: sent - latencies.len(),
        latency: percentile(&latencies, 50)
            .zip(percentile(&latencies, 95))
            .zip(percentile(&latencies, 99))
            .map(|((half, most), nearly)| (half, most, nearly)),
        concurrency: answered * mean,
        redirected,
    }
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    /// It was answered.
    Good,
    /// It was answered with another address. As for health checks, that is an answer: whoever sends to a login page works.
    Elsewhere(String),
    /// No answer in time, or one that says so.
    Failed,
}

/// Asks, and reads the answer to the end. The client must follow no redirects: nobody asked for load on another host.
async fn ask(client: &Client, url: Url, patience: Duration) -> Answer {
    let whole = async {
        let answer = client.get(url.clone()).send().await?.error_for_status()?;
        let redirects = answer.status().is_redirection();
        let to = answer.headers().get(LOCATION).filter(|_| redirects);
        let to = to.map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
        answer.bytes().await.map(|_| to)
    };
    match tokio::time::timeout(patience, whole).await {
        Ok(Ok(None)) => Answer::Good,
        Ok(Ok(Some(to))) => Answer::Elsewhere(url.join(&to).map_or(to, String::from)),
        Ok(Err(_)) | Err(_) => Answer::Failed,
    }
}

fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(place).copied()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers everything with these words; gives its address, and counts who came.
    async fn serve(answer: String) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, came) = (listener.local_addr().unwrap().to_string(), Arc::new(AtomicUsize::new(0)));
        let count = came.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut request = [0; 4_096];
                    let _ = stream.read(&mut request).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        (address, came)
    }

    #[tokio::test]
    async fn load_goes_nowhere_but_where_it_was_sent() {
        let head = "Connection: close\r\nContent-Length: 0\r\n\r\n";
        let (other, came) = serve(format!("HTTP/1.1 200 OK\r\n{head}")).await;
        let there = format!("http://{other}/login");
        let (asked, _) = serve(format!("HTTP/1.1 302 Found\r\nLocation: {there}\r\n{head}")).await;
        let slope = Slope {
            from: 20.0,
            to: 20.0,
            factor: 2.0,
            step: Duration::from_millis(500),
            patience: Duration::from_secs(5),
            errors: 0.01,
        };
        let client = crate::http::client_without_redirects().unwrap();
        let url = format!("http://{asked}/").parse().unwrap();
        let (steps, _) = raise(&client, &url, &slope, |_| {}).await;
        assert_eq!((steps[0].failed, steps[0].redirected.as_deref()), (0, Some(there.as_str())));
        assert_eq!(came.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn percentiles_are_of_what_was_seen() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(
            [50, 95, 99].map(|percent| percentile(&values, percent)),
            [Some(100.0), Some(190.0), Some(198.0)]
        );
        assert_eq!((percentile(&[7.0], 99), percentile(&[], 50)), (Some(7.0), None));
    }
}
