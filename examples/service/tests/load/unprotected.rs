//! A service that counts as one shouldn't, beside a counter.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rseq::Counter;
use tokio::net::TcpListener;
use tokio::task::yield_now;

/// Exact.
pub static COUNTED: Counter = Counter::new();

/// Loaded, and stored later.
pub static UNPROTECTED: AtomicU64 = AtomicU64::new(0);

async fn count(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    COUNTED.inc();
    let before = UNPROTECTED.load(Relaxed);
    // As if the kernel had taken the processor away here, which it does too seldom for a test.
    yield_now().await;
    UNPROTECTED.store(before + 1, Relaxed);
    Ok(Response::default())
}

/// Listens, and answers in tasks of its own.
pub async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(count)));
        }
    });
    address
}
