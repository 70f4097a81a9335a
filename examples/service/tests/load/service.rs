//! The service, as a process.

use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use tokio::runtime::Builder;

use crate::client::Client;

const PROGRAM: &str = env!("CARGO_BIN_EXE_rseq-service");

/// One that listens. It is killed when dropped.
pub struct Service {
    process: Child,
    out: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Service {
    /// Starts it on a free port, in the mode that is asked for.
    pub fn start(mode: Option<&str>) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["--listen", "127.0.0.1:0", "--threads", "4"]).stdout(Stdio::piped());
        if let Some(mode) = mode {
            command.env("RSEQ_MODE", mode);
        }
        let mut process = command.spawn().expect("the service starts");
        let mut out = BufReader::new(process.stdout.take().expect("it is piped"));
        let line = line(&mut out);
        let address = line.strip_prefix("listening on http://").expect("the service says where it is");
        Self { process, address: address.parse().expect("an address"), out }
    }

    /// The result of a start with wrong options.
    pub fn refused(options: &[&str]) -> Output {
        Command::new(PROGRAM).args(options).output().expect("the service starts")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// A connection without a client.
    pub fn connect_plainly(&self) -> io::Result<TcpStream> {
        TcpStream::connect(self.address)
    }

    /// Does so with one connection.
    pub fn block_on<R>(&self, act: impl AsyncFnOnce(Client) -> R) -> R {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async { act(self.connect().await).await })
    }

    /// Tells it to stop.
    pub fn terminate(&self) {
        let id = self.process.id().to_string();
        let kill = Command::new("kill").args(["-TERM", &id]).status().expect("there is `kill`");
        assert!(kill.success(), "{kill}");
    }

    /// Tells it to stop, and waits for it.
    pub fn stop(self) -> String {
        self.terminate();
        self.wait()
    }

    /// The last line it says. It ends well.
    pub fn wait(mut self) -> String {
        let last = line(&mut self.out);
        let status = self.process.wait().expect("the service was started here");
        assert!(status.success(), "{status}: {last}");
        last
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn line(out: &mut impl BufRead) -> String {
    let mut line = String::new();
    out.read_line(&mut line).expect("the service writes text");
    line.trim_end().to_owned()
}
