//! A connection to the service, on which one request follows the other.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::scrape::Scrape;

pub struct Client {
    requests: SendRequest<Full<Bytes>>,
}

pub struct Answer {
    pub status: StatusCode,
    pub text: String,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the service accepts");
        stream.set_nodelay(true).expect("an option of every connection");
        let (requests, connection) = handshake(TokioIo::new(stream)).await.expect("the service speaks HTTP");
        tokio::spawn(connection);
        Self { requests }
    }

    /// Sends a request, and reads the whole answer.
    pub async fn send(&mut self, method: Method, path: &str, body: String) -> Answer {
        self.requests.ready().await.expect("the connection stays open");
        let request = Request::builder().method(method).uri(path).header(HOST, "localhost");
        let request = request.body(Full::from(body)).expect("a valid request");
        let answer = self.requests.send_request(request).await.expect("an answer");
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("the whole answer").to_bytes();
        Answer { status, text: String::from_utf8(body.into()).expect("answers are text") }
    }

    /// The counts of the service.
    pub async fn scrape(&mut self) -> Scrape {
        let answer = self.send(Method::GET, "/metrics", String::new()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        Scrape::parse(&answer.text)
    }
}
