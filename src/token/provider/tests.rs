//! How long a token is believed without another look.

use serde_json::json;

use super::*;

/// What is made of a token that ends `seconds` from `now`.
fn until(now: SystemTime, seconds: i64) -> Result<SystemTime, Distrust> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({ "iss": "us", "aud": "gateway", "exp": since.cast_signed() + seconds });
    judge(claims.as_object().unwrap(), ("us", "gateway"), now)
}

#[test]
fn no_token_is_believed_beyond_the_next_look_at_the_keys_nor_beyond_its_end() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    assert_eq!(until(now, 86_400), Ok(now + REFRESH), "its key may be withdrawn by then");
    assert_eq!(until(now, 60), Ok(now + Duration::from_secs(60) + LEEWAY));
    assert_eq!(until(now, -29), Ok(now + Duration::from_secs(1)));
    for over in [-30, -31, -86_400] {
        assert_eq!(until(now, over), Err(Distrust::Expired), "{over}");
    }
}
