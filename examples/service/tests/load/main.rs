//! Loads the service and compares what it counted with what was sent: exactly.
//!
//! Most clients are written here, on hyper: what they send is the reference, so each has to know
//! the route and status of every request, and load generators don't say that.

#![cfg(all(unix, not(miri)))]

mod client;
mod scrape;
mod service;
mod unprotected;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use hyper::{Method, StatusCode};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::sleep;

use client::Client;
use scrape::Scrape;
use service::Service;

/// How many requests had this route and status.
type Totals = BTreeMap<(&'static str, u16), u64>;

const CLIENTS: u64 = 8;

/// The requests that a client sends over and over, with the route that each should be counted for.
const REQUESTS: [(Method, &str, &str, u16); 8] = [
    (Method::GET, "/", "/", 200),
    (Method::POST, "/hash", "/hash", 200),
    (Method::GET, "/slow?ms=0", "/slow", 200),
    (Method::GET, "/", "/", 200),
    (Method::GET, "/slow?ms=soon", "/slow", 400),
    (Method::GET, "/nowhere?ms=1", "unknown", 404),
    (Method::DELETE, "/", "/", 405),
    (Method::GET, "/hash", "/hash", 405),
];

/// A client's requests, one after the other on a connection that stays open.
async fn load(mut client: Client, first: u64, requests: u64) -> Totals {
    let mut sent = Totals::new();
    for number in first..first + requests {
        let (method, path, route, status) = &REQUESTS[number as usize % REQUESTS.len()];
        let answer = client.send(method.clone(), path, number.to_string()).await;
        assert_eq!(answer.status.as_u16(), *status, "{method} {path}: {}", answer.text);
        *sent.entry((route, *status)).or_default() += 1;
    }
    sent
}

/// Scrapes until the load is over. What is counted never falls. Returns how many scrapes there
/// were.
async fn watch(mut client: Client, over: &AtomicBool) -> u64 {
    let mut before = Scrape::default();
    let mut scrapes = 0;
    while !over.load(Relaxed) {
        let seen = client.scrape().await;
        before.assert_not_above(&seen);
        before = seen;
        scrapes += 1;
        // To parse takes long; the others are to load the service meanwhile.
        sleep(Duration::from_millis(20)).await;
    }
    scrapes
}

async fn loaded(service: &Service, requests: u64) -> (Totals, Scrape) {
    static OVER: AtomicBool = AtomicBool::new(false);
    OVER.store(false, Relaxed);
    let watch = tokio::spawn(watch(service.connect().await, &OVER));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(load(service.connect().await, number, requests));
    }
    let mut sent = Totals::new();
    for totals in clients.join_all().await {
        totals.into_iter().for_each(|(key, count)| *sent.entry(key).or_default() += count);
    }
    OVER.store(true, Relaxed);
    sent.insert(("/metrics", 200), watch.await.expect("what is counted never falls"));
    (sent, service.connect().await.scrape().await)
}

/// Under load from several connections, with scrapes in between, no request is lost or counted
/// twice.
fn totals_are_exact(mode: Option<&str>, requests: u64) {
    let service = Service::start(mode);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (sent, seen) = runtime.block_on(loaded(&service, requests));
    assert_eq!(seen.requests(), sent);
    assert!(sent[&("/metrics", 200)] > 2, "there were scrapes in between");
    assert_eq!(sent.values().sum::<u64>(), CLIENTS * requests + sent[&("/metrics", 200)]);
    for route in ["/", "/hash", "/slow", "/metrics", "unknown"] {
        let of_route = |((other, _), count): (&(&str, u16), &u64)| if *other == route { *count } else { 0 };
        assert_eq!(seen.count(route), sent.iter().map(of_route).sum::<u64>(), "{route}");
        seen.assert_histogram(route);
    }
    let total = sent.values().sum::<u64>() + 1;
    assert_eq!(service.stop(), format!("stopped; requests answered: {total}"));
}

#[test]
fn totals_are_exact_by_restartable_sequences() {
    totals_are_exact(None, 3000);
}

#[test]
fn totals_are_exact_in_portable_mode() {
    totals_are_exact(Some("portable"), 1000);
}

/// Somebody else's load generator, which says how many of its requests were answered. (Debian:
/// nghttp2-client.)
#[test]
fn h2load_and_the_service_agree() {
    let service = Service::start(None);
    let mut command = Command::new("h2load");
    match command.args(["--h1", "-n", "20000", "-c", "8", &service.url("/")]).output() {
        Err(error) => println!("skipped: h2load can't be run: {error}"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains("20000 done, 20000 succeeded"), "{said}");
            let seen = service.block_on(async |mut client| client.scrape().await);
            assert_eq!(seen.requests(), Totals::from([(("/", 200), 20_000)]));
            assert_eq!(seen.count("/"), 20_000);
        }
    }
}

/// The tests above would say so if updates were lost: requests do overlap under this load.
#[test]
fn lost_updates_are_seen() {
    const REQUESTS: u64 = 1000;
    let runtime = Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let address = unprotected::start().await;
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let mut client = Client::connect(address).await;
            clients.spawn(async move {
                for _ in 0..REQUESTS {
                    client.send(Method::GET, "/", String::new()).await;
                }
            });
        }
        clients.join_all().await;
    });
    let sent = Totals::from([(("/", 200), CLIENTS * REQUESTS)]);
    let counted = |requests| Totals::from([(("/", 200), requests)]);
    assert_eq!(counted(unprotected::COUNTED.sum()), sent);
    assert_ne!(counted(unprotected::UNPROTECTED.load(Relaxed)), sent);
}

/// A sleep is never shorter than it should be, so these latencies have a least value.
#[test]
fn latencies_are_of_their_size() {
    let service = Service::start(None);
    let seen = service.block_on(async |mut client| {
        for _ in 0..20 {
            client.send(Method::GET, "/slow?ms=5", String::new()).await;
        }
        client.scrape().await
    });
    seen.assert_histogram("/slow");
    // 2^22 ns is the last bound below 5 ms.
    assert_eq!((seen.up_to("/slow", 0.0042), seen.count("/slow")), (0, 20));
    assert!(seen.sum("/slow") >= 20.0 * 0.005 * (1.0 - 1.0 / 64.0), "{}", seen.sum("/slow"));
}

#[test]
fn answers_are_right() {
    let service = Service::start(None);
    service.block_on(async |mut client| {
        let hash = client.send(Method::POST, "/hash", String::from("abc")).await.text;
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n");
        for (method, path, status, text) in [
            (Method::GET, "/", 200, "POST /hash"),
            (Method::GET, "/slow?ms=1", 200, "that was 1 ms"),
            (Method::GET, "/slow", 400, "it wants to know how long: /slow?ms=50"),
            (Method::GET, "/slow?ms=-1", 400, r#"ms is a whole number from 0 to 10000, not "-1""#),
            (Method::GET, "/slow?ms=10001", 400, r#"from 0 to 10000, not "10001""#),
            (Method::PUT, "/slow?ms=1", 405, "this is for GET alone"),
            (Method::GET, "/metrics/", 404, "there is nothing here"),
        ] {
            let answer = client.send(method, path, String::new()).await;
            assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text);
            assert!(answer.text.contains(text), "{path}: {}", answer.text);
        }
    });
    // A connection whose request wasn't read to its end isn't used again.
    let too_long =
        service.block_on(async |mut client| client.send(Method::POST, "/hash", "x".repeat((1 << 20) + 1)).await);
    assert_eq!(too_long.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", too_long.text);
    let longest = service.block_on(async |mut client| client.send(Method::POST, "/hash", "x".repeat(1 << 20)).await);
    assert_eq!(longest.status, StatusCode::OK, "{}", longest.text);
}

/// Who is being answered when the service is told to stop gets the answer; nobody else does.
#[test]
fn requests_that_have_begun_are_answered() {
    let service = Service::start(None);
    let mut connection = service.connect_plainly().expect("the service accepts");
    let head = b"POST /hash HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    connection.write_all(head).expect("the service reads");
    // It says so when the body is wanted: then it has begun.
    let mut begun = [0; 25];
    connection.read_exact(&mut begun).expect("the service writes");
    assert_eq!(&begun, b"HTTP/1.1 100 Continue\r\n\r\n");

    service.terminate();
    while service.connect_plainly().is_ok() {
        thread::yield_now();
    }
    connection.write_all(b"abc").expect("the service still reads");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("the service closes the connection");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("ba7816bf8f01cfea"), "{answer}");
    assert_eq!(service.wait(), "stopped; requests answered: 1");
}

#[test]
fn wrong_options_are_refused() {
    for (options, code, message) in [
        (["--listen", "here"], 2, "invalid socket address syntax"),
        (["--threads", "0"], 2, "--threads"),
        (["--listen", "192.0.2.1:1"], 1, "error: can't listen on 192.0.2.1:1: "),
    ] {
        let output = Service::refused(&options);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.contains(message), "{errors}");
    }
}
