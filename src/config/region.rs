//! The regions of Genesys Cloud: AWS name and domain (help.mypurecloud.com, "AWS regions").
//! It never invents a domain: a region it does not know needs `api_url`.

use super::nearest::nearest;

/// Used when neither the file nor the environment names one.
pub(super) const DEFAULT: &Region = &Region { aws: "us-east-1", domain: "mypurecloud.com" };

/// One region; its hosts are `api.<domain>`, `login.<domain>` and `apps.<domain>`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Region {
    /// AWS name.
    pub(super) aws: &'static str,
    /// What follows the service's name in a host.
    pub(super) domain: &'static str,
}

const fn region(aws: &'static str, domain: &'static str) -> Region {
    Region { aws, domain }
}

/// Every region, by AWS name and domain.
const REGIONS: [Region; 18] = [
    region("us-east-1", "mypurecloud.com"),
    region("us-east-2", "use2.us-gov-pure.cloud"), // FedRAMP
    region("us-west-2", "usw2.pure.cloud"),
    region("ca-central-1", "cac1.pure.cloud"),
    region("sa-east-1", "sae1.pure.cloud"),
    region("mx-central-1", "mxc1.pure.cloud"),
    region("eu-west-1", "mypurecloud.ie"),
    region("eu-west-2", "euw2.pure.cloud"),
    region("eu-central-1", "mypurecloud.de"),
    region("eu-central-2", "euc2.pure.cloud"),
    region("eusc-de-east-1", "edee1.eusc-pure.cloud"),
    region("me-central-1", "mec1.pure.cloud"),
    region("ap-south-1", "aps1.pure.cloud"),
    region("ap-southeast-1", "apse1.pure.cloud"),
    region("ap-southeast-2", "mypurecloud.com.au"),
    region("ap-northeast-1", "mypurecloud.jp"),
    region("ap-northeast-2", "apne2.pure.cloud"),
    region("ap-northeast-3", "apne3.pure.cloud"),
];

/// The region with this AWS name or domain, in any case.
pub(super) fn find(name: &str) -> Option<&'static Region> {
    REGIONS.iter().find(|r| r.aws.eq_ignore_ascii_case(name) || r.domain.eq_ignore_ascii_case(name))
}

/// What to do about a name that [`find`] does not know.
pub(super) fn hint(name: &str) -> String {
    let host = name.rsplit("://").next().unwrap_or(name).trim_end_matches('/');
    let host = host.split_once('.').filter(|(service, _)| {
        ["api", "login", "apps"].iter().any(|known| service.eq_ignore_ascii_case(known))
    });
    if let Some(region) = host.and_then(|(_, domain)| find(domain)) {
        return format!("did you mean `{}`? A region is named without its hosts", region.domain);
    }
    match nearest(name, REGIONS.iter().flat_map(|r| [r.aws, r.domain])) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "use an AWS region such as `eu-central-1`, a domain such as `mypurecloud.de`, \
                 or set api_url instead"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_found_by_either_name_in_any_case() {
        for known in &REGIONS {
            assert_eq!(find(known.aws), Some(known));
            assert_eq!(find(&known.domain.to_uppercase()), Some(known));
        }
        assert_eq!(find(DEFAULT.aws), Some(DEFAULT));
        assert_eq!(find("us-east-9"), None);
        assert_eq!(find(""), None);
    }

    #[test]
    fn a_slip_is_named_and_a_host_is_taken_apart() {
        assert_eq!(hint("eu-centrall-1"), "did you mean `eu-central-1`?");
        assert_eq!(hint("eu_west_1"), "did you mean `eu-west-1`?");
        assert_eq!(hint("mypurcloud.ie"), "did you mean `mypurecloud.ie`?");
        assert!(
            hint("https://api.usw2.pure.cloud/").starts_with("did you mean `usw2.pure.cloud`?")
        );
        assert!(hint("the moon, far side").contains("api_url"));
    }
}
