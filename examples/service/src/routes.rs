//! The answers.

use std::convert::Infallible;
use std::error::Error;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::{Method, Request, Response, StatusCode};
use prometheus_client::encoding::prometheus_text::CONTENT_TYPE as PROMETHEUS;
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use crate::metrics::{METRICS, Route};

/// The bytes that `/hash` takes.
const LONGEST_BODY: usize = 1 << 20;

/// The milliseconds that `/slow` waits.
const LONGEST_WAIT: u64 = 10_000;

const INDEX: &str = "\
GET  /            this
POST /hash        the SHA-256 of the body
GET  /slow?ms=50  an answer after so many milliseconds
GET  /metrics     what was answered so far
";

type Answer = Response<Full<Bytes>>;

/// Answers a request and counts it. One whose client goes away before isn't counted.
pub async fn handle(request: Request<Incoming>) -> Result<Answer, Infallible> {
    let began = Instant::now();
    let route = Route::of(request.uri().path());
    let answer = answer(route, request).await;
    METRICS.count(route, answer.status(), began.elapsed());
    Ok(answer)
}

async fn answer(route: Route, request: Request<Incoming>) -> Answer {
    let allowed = if route == Route::Hash { Method::POST } else { Method::GET };
    match route {
        Route::Unknown => text(StatusCode::NOT_FOUND, "there is nothing here; / says what there is"),
        _ if request.method() != allowed => not_allowed(&allowed),
        Route::Index => text(StatusCode::OK, INDEX),
        Route::Hash => hash(request.into_body()).await,
        Route::Slow => slow(request.uri().query()).await,
        Route::Metrics => metrics(),
    }
}

async fn hash(body: Incoming) -> Answer {
    match Limited::new(body, LONGEST_BODY).collect().await {
        Ok(body) => {
            let digest = Sha256::digest(body.to_bytes());
            text(StatusCode::OK, format!("{:x}", Bytes::copy_from_slice(&digest)))
        }
        Err(error) => no_body(&*error),
    }
}

fn no_body(error: &(dyn Error + Send + Sync + 'static)) -> Answer {
    if error.is::<LengthLimitError>() {
        text(StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {LONGEST_BODY} bytes"))
    } else {
        text(StatusCode::BAD_REQUEST, format!("the body can't be read: {error}"))
    }
}

async fn slow(query: Option<&str>) -> Answer {
    match wait(query.unwrap_or_default()) {
        Ok(wait) => {
            sleep(wait).await;
            text(StatusCode::OK, format!("that was {} ms", wait.as_millis()))
        }
        Err(message) => text(StatusCode::BAD_REQUEST, message),
    }
}

/// How long the query says.
fn wait(query: &str) -> Result<Duration, String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("ms="));
    let value = value.ok_or("it wants to know how long: /slow?ms=50")?;
    match value.parse() {
        Ok(milliseconds) if milliseconds <= LONGEST_WAIT => Ok(Duration::from_millis(milliseconds)),
        _ => Err(format!("ms is a whole number from 0 to {LONGEST_WAIT}, not {value:?}")),
    }
}

fn metrics() -> Answer {
    let mut answer = text(StatusCode::OK, METRICS.text().expect("a string takes everything"));
    answer.headers_mut().insert(CONTENT_TYPE, PROMETHEUS.parse().expect("a type is a valid header"));
    answer
}

fn not_allowed(allowed: &Method) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, format!("this is for {allowed} alone"));
    answer.headers_mut().insert(ALLOW, allowed.as_str().parse().expect("a method is a valid header"));
    answer
}

/// A line of text, which gets its end here.
fn text(status: StatusCode, text: impl Into<String>) -> Answer {
    let mut text = text.into();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let mut answer = Response::new(Full::from(text));
    *answer.status_mut() = status;
    answer
}
