//! A page of a list, and how to ask for one.

use axum::Json;
use axum::http::HeaderValue;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::Value;

/// The longest page, and one whose length nobody said.
const LONGEST_PAGE: usize = 100;
const PAGE: usize = 50;

pub(super) const BAD_LIMIT: &str = "limit is a number from 1 to 100";

/// Some of a longer list.
#[derive(Clone, Debug)]
pub struct Page {
    /// Each as JSON.
    pub items: Vec<Value>,
    /// What to ask for to get those behind them, if there are any.
    pub next: Option<String>,
}

/// The length of a page; `None`: that is none.
pub(super) fn limit(text: Option<&str>) -> Option<usize> {
    let Some(text) = text else { return Some(PAGE) };
    text.parse().ok().filter(|limit| (1..=LONGEST_PAGE).contains(limit))
}

/// A page, with the address of the next one (RFC 8288).
pub(super) fn page(found: Page, path: &str, key: &str, most: usize, more: Option<(&str, &str)>) -> Response {
    let mut answer = ([(header::CACHE_CONTROL, "no-store")], Json(found.items)).into_response();
    if let Some(next) = found.next {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &most.to_string()).append_pair(key, &next).extend_pairs(more);
        let link = format!("<{path}?{}>; rel=\"next\"", query.finish());
        if let Ok(link) = HeaderValue::from_str(&link) {
            answer.headers_mut().insert(header::LINK, link);
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_a_link() {
        let found = Page { items: vec![], next: Some("17.tea".to_owned()) };
        let answer = page(found, "/api/rooms", "after", 9, Some(("search", "a&b>")));
        assert_eq!(
            answer.headers()["link"],
            "</api/rooms?limit=9&after=17.tea&search=a%26b%3E>; rel=\"next\""
        );
        let last = page(Page { items: vec![], next: None }, "/", "after", 9, None);
        assert!(!last.headers().contains_key("link"));
        assert_eq!(
            (limit(None), limit(Some("100")), limit(Some("0")), limit(Some("101"))),
            (Some(50), Some(100), None, None)
        );
    }
}
