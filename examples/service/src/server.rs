//! Connections, from the first to the last.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::routes::handle;

/// How long requests may go on after the service was told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Answers until `stop` completes, and then those requests that have begun.
pub async fn serve(listener: TcpListener, stop: impl Future<Output = ()>) {
    let connections = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => answer(stream, &connections),
                Err(error) => refused(&error).await,
            },
            () = &mut stop => break,
        }
    }
    drop(listener);
    tokio::select! {
        () = connections.shutdown() => {}
        () = sleep(GRACE) => eprintln!("some requests took longer than {} s and were abandoned", GRACE.as_secs()),
    }
}

/// Answers what comes in on a connection.
fn answer(stream: TcpStream, connections: &GracefulShutdown) {
    // Answers are short and go out at once.
    _ = stream.set_nodelay(true);
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service_fn(handle));
    let connection = connections.watch(connection);
    tokio::spawn(async {
        // Whatever ended it, there is nobody to tell.
        _ = connection.await;
    });
}

/// There may be too many open files; some will be closed soon.
async fn refused(error: &io::Error) {
    eprintln!("a connection was refused: {error}");
    sleep(Duration::from_millis(100)).await;
}
