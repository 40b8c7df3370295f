//! The organisation, its users, and the token that asks.
//! It must never invent a user for a client-credentials token: it has none.

use std::{sync::LazyLock, time::Duration};

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    super::{
        answer::{self, Problem},
        journey::Call,
        random::uuid_of,
        received,
        tokens::Caller,
    },
    Outcome, only,
    page::page,
    reading,
};

const FIRST: [&str; 12] = [
    "Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Frances", "John", "Radia", "Dennis",
    "Margaret", "Ken",
];
const LAST: [&str; 11] = [
    "Lovelace", "Hopper", "Turing", "Dijkstra", "Liskov", "Knuth", "Allen", "Backus", "Perlman",
    "Ritchie", "Hamilton",
];

static USERS: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..132).map(|index| uuid_of(&format!("user/{index}"))).collect());

/// The ids of all users, in the order in which they are listed.
pub fn user_ids() -> Vec<String> {
    USERS.clone()
}

/// The one division that everything belongs to.
pub(super) fn division() -> Value {
    let id = uuid_of("division/home");
    json!({"id": id, "name": "Home", "selfUri": format!("/api/v2/authorization/divisions/{id}")})
}

fn entity(index: u64) -> Value {
    let at = usize::try_from(index).unwrap_or_default();
    let id = USERS.get(at).cloned().unwrap_or_default();
    let first = FIRST.get(at % FIRST.len()).copied().unwrap_or_default();
    let last = LAST.get(at % LAST.len()).copied().unwrap_or_default();
    let email = format!("{}.{}@example.com", first.to_lowercase(), last.to_lowercase());
    json!({
        "id": id,
        "name": format!("{first} {last}"),
        "division": division(),
        "chat": {"jabberId": format!("{id}@demo.orgspan.com")},
        "department": (if at.is_multiple_of(3) { "Support" } else { "Sales" }),
        "email": email,
        "primaryContactInfo": [{"address": email, "mediaType": "EMAIL", "type": "PRIMARY"}],
        "addresses": [],
        "state": "active",
        "title": "Agent",
        "username": email,
        "version": 1 + index % 7,
        "acdAutoAnswer": false,
        "selfUri": format!("/api/v2/users/{id}"),
    })
}

/// `/api/v2/users`
pub(super) fn users(call: &Call) -> Outcome {
    reading(call)?;
    page(call, USERS.len() as u64, entity)
}

/// `/api/v2/users/{id}`
pub(super) fn user(call: &Call, id: &str) -> Outcome {
    reading(call)?;
    if id == "me" {
        let message = "This request requires a user context. Client credentials cannot be used \
                       for requests that require a user context.";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "not.a.user", message));
    }
    match USERS.iter().position(|known| known == id) {
        Some(index) => Ok(answer::json(StatusCode::OK, &entity(index as u64))),
        None => Err(Problem::of(StatusCode::NOT_FOUND)),
    }
}

/// `/api/v2/organizations/me`
pub(super) fn organization(call: &Call) -> Outcome {
    reading(call)?;
    let organization = json!({
        "id": uuid_of("organization"),
        "name": "Demo Organisation",
        "defaultLanguage": "en-us",
        "defaultCountryCode": "US",
        "thirdPartyOrgName": "demo",
        "domain": "demo",
        "version": 11,
        "state": "active",
        "defaultSiteId": uuid_of("site/default"),
        "voicemailEnabled": false,
        "productPlatform": "PureCloud",
        "features": {"informalPhotos": true, "purecloud": true},
        "selfUri": "/api/v2/organizations/me",
    });
    Ok(answer::json(StatusCode::OK, &organization))
}

/// `/api/v2/tokens/me`: DELETE revokes the very token that asks.
pub(super) fn token(call: &Call, caller: &Caller) -> Outcome {
    only(call, &[Method::GET, Method::HEAD, Method::DELETE])?;
    if call.head.method() == Method::DELETE {
        let token = received::bearer(&call.head).unwrap_or_default();
        call.site.world.with(|state, _| state.tokens.revoke(token));
        return Ok(answer::empty(StatusCode::OK));
    }
    let organization = json!({"id": uuid_of("organization"), "name": "Demo Organisation"});
    let information = json!({
        "organization": organization,
        "homeOrganization": organization,
        "authorizedScope": caller.scope.split(' ').collect::<Vec<_>>(),
        "dateTokenIdles": call.site.world.timestamp(Duration::from_hours(8)),
        "OAuthClient": {
            "id": caller.client,
            "name": caller.client,
            "roleDivisions": [{
                "roleId": uuid_of("role/employee"),
                "divisionId": uuid_of("division/home"),
            }],
            "state": "active",
        },
    });
    Ok(answer::json(StatusCode::OK, &information))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_users_share_an_id_a_name_or_an_address() {
        let users: Vec<Value> = (0..USERS.len() as u64).map(entity).collect();
        for field in ["id", "name", "email"] {
            let values: BTreeSet<_> = users.iter().map(|user| user[field].as_str()).collect();
            assert_eq!(values.len(), USERS.len(), "{field}");
        }
    }

    #[test]
    fn the_first_user_never_changes() {
        assert_eq!(entity(0)["name"], "Ada Lovelace");
        assert_eq!(user_ids()[0], uuid_of("user/0"));
    }
}
