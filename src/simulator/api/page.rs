//! Genesys's paginated listing: entities, counts, and URIs relative to the root.
//! It must never put a scheme or a host into a URI.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    super::{
        answer::{self, Problem, also},
        journey::Call,
        received::number,
    },
    Outcome,
};

/// The largest page that may be asked for.
const LARGEST: u64 = 500;

/// The page of `total` entities that a call asks for with `pageSize` and `pageNumber`.
pub(super) fn page(call: &Call, total: u64, entity: impl Fn(u64) -> Value) -> Outcome {
    let size = number(&call.head, "pageSize", 25);
    let current = number(&call.head, "pageNumber", 1);
    if !(1..=LARGEST).contains(&size) || current == 0 {
        return Err(Problem::bad_request(format!(
            "pageSize must be between 1 and {LARGEST}, pageNumber at least 1"
        )));
    }
    Ok(answer::json(StatusCode::OK, &listing(call.head.uri().path(), total, size, current, entity)))
}

fn listing(
    path: &str,
    total: u64,
    size: u64,
    current: u64,
    entity: impl Fn(u64) -> Value,
) -> Value {
    let uri = |number: u64| format!("{path}?pageSize={size}&pageNumber={number}");
    let count = total.div_ceil(size);
    let first = current.saturating_sub(1).saturating_mul(size).min(total);
    let entities: Vec<Value> = (first..first.saturating_add(size).min(total)).map(entity).collect();
    let mut listing = json!({
        "entities": entities,
        "pageSize": size,
        "pageNumber": current,
        "total": total,
        "pageCount": count,
        "firstUri": uri(1),
        "lastUri": uri(count.max(1)),
        "selfUri": uri(current),
    });
    if current < count {
        listing = also(listing, "nextUri", uri(current + 1));
    }
    if current > 1 {
        listing = also(listing, "previousUri", uri(current - 1));
    }
    listing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_in_the_middle_knows_its_neighbours() {
        let page = listing("/api/v2/routing/queues", 75, 25, 2, Value::from);
        assert_eq!(page["entities"].as_array().unwrap().len(), 25);
        assert_eq!(page["entities"][0], 25);
        assert_eq!(page["pageCount"], 3);
        assert_eq!(page["nextUri"], "/api/v2/routing/queues?pageSize=25&pageNumber=3");
        assert_eq!(page["previousUri"], "/api/v2/routing/queues?pageSize=25&pageNumber=1");
    }

    #[test]
    fn the_last_page_is_short_and_has_no_next() {
        let page = listing("/api/v2/users", 7, 5, 2, Value::from);
        assert_eq!(page["entities"], json!([5, 6]));
        assert_eq!(page.get("nextUri"), None);
        assert_eq!(page["lastUri"], page["selfUri"]);
    }

    #[test]
    fn a_page_beyond_the_end_is_empty() {
        let page = listing("/api/v2/users", 7, 5, u64::MAX, Value::from);
        assert_eq!(page["entities"], json!([]));
    }
}
