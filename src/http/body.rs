//! Bodies that do not arrive: a client that sends its head at once and its body a byte a minute is cut too.

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use axum::Error;
use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use hyper::body::Body as _;
use hyper::body::Frame;
use hyper::body::SizeHint;
use tokio::time::Sleep;
use tokio::time::sleep;

/// How long a whole body may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A body that ends with an error when its time is up.
struct Timed {
    inner: Body,
    deadline: Pin<Box<Sleep>>,
}

/// Gives the request's body, if it has one, a deadline.
pub(super) fn timed(request: Request) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    request.map(|inner| Body::new(Timed { inner, deadline: Box::pin(sleep(PATIENCE)) }))
}

impl hyper::body::Body for Timed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Pending if self.deadline.as_mut().poll(context).is_ready() => {
                Poll::Ready(Some(Err(Error::new("the body took too long"))))
            }
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use http_body_util::Full;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_an_error() {
        let request = timed(Request::new(Body::new(Never)));
        let begun = tokio::time::Instant::now();
        assert!(request.into_body().collect().await.is_err());
        assert_eq!(begun.elapsed(), PATIENCE);
    }

    #[tokio::test]
    async fn a_body_that_comes_is_itself() {
        let request = timed(Request::new(Body::new(Full::from("hello"))));
        assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), "hello");
    }

    struct Never;
    impl hyper::body::Body for Never {
        type Data = Bytes;
        type Error = Error;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
            Poll::Pending
        }
    }
}
