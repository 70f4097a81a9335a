//! An HTTP service that counts its requests per CPU, and shows the counts to Prometheus:
//!
//! ```text
//! cargo run --release -p rseq-service -- --listen 127.0.0.1:8080
//! curl http://127.0.0.1:8080/
//! curl --data-binary @Cargo.toml http://127.0.0.1:8080/hash
//! curl http://127.0.0.1:8080/metrics
//! ```
//!
//! The part that is worth a look is `metrics`: a request costs two additions, on memory that no
//! other CPU writes to.

mod metrics;
mod routes;
mod server;

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use tokio::net::TcpListener;
use tokio::runtime::Builder;

use crate::metrics::METRICS;

/// Answers HTTP requests, and counts them per CPU.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Where to listen; port 0 takes one that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// Threads that answer; by default one for each CPU
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZeroUsize>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    // From here on no request can fail for want of memory to be counted in.
    METRICS.allocate()?;
    let threads = options.threads.or(thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    Builder::new_multi_thread().worker_threads(threads).enable_all().build()?.block_on(listen(options.listen))?;
    println!("stopped; requests answered: {}", METRICS.total());
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let stop = stop()?;
    let listener = TcpListener::bind(address).await.map_err(|error| format!("can't listen on {address}: {error}"))?;
    println!("listening on http://{}", listener.local_addr()?);
    server::serve(listener, stop).await;
    Ok(())
}

/// Completes when somebody wants the service to end: by Ctrl-C, or by SIGTERM.
#[cfg(unix)]
fn stop() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let [mut interrupt, mut terminate] = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Completes when somebody wants the service to end: by Ctrl-C.
#[cfg(not(unix))]
fn stop() -> io::Result<impl Future<Output = ()>> {
    Ok(async { _ = tokio::signal::ctrl_c().await })
}
