//! Host names under which browsers may open the page, and origins that may send requests.

use super::Refusal;
use crate::address::Domain;
use axum::{
    extract::Request,
    http::{HeaderMap, Method, StatusCode, header, uri::Authority},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The host and port that a request is for.
pub(super) fn host(request: &Request) -> Result<Authority, Refusal> {
    let refusal = || Refusal::new(StatusCode::BAD_REQUEST, "the request needs one Host field");
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(refusal());
    };
    let host = host.to_str().map_err(|_not_ascii| refusal())?;
    let host: Authority = host.parse().map_err(|_invalid| refusal())?;
    // RFC 9112 section 3.2.2: what stands in the request line counts, so they must agree.
    let is_same = request.uri().authority().is_none_or(|other| *other == host);
    match is_same && !host.as_str().contains('@') {
        true => Ok(host),
        false => Err(refusal()),
    }
}

/// Refuses host names that are not those of the page. Another site could point its own name to
/// the address of this page, and browsers would treat both as the same site (DNS rebinding).
pub(super) fn check_host(host: &Authority, names: &[Domain]) -> Result<(), Refusal> {
    match is_known(host.host(), names) {
        true => Ok(()),
        false => Err(Refusal::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this name is neither an IP address nor localhost nor in status.host_names",
        )),
    }
}

fn is_known(host: &str, names: &[Domain]) -> bool {
    let literal = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    if let Some(literal) = literal {
        return literal.parse::<Ipv6Addr>().is_ok();
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    host.parse::<Ipv4Addr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || names
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known.as_str()))
}

/// Refuses requests that another site makes a browser send, except for following a link.
///
/// Our `Referrer-Policy` makes browsers send `Origin: null` with our own forms, and other
/// sites can cause the same. `Sec-Fetch-Site` distinguishes them, but browsers send it only
/// over HTTPS and to loopback; elsewhere the CSRF token does.
pub(super) fn check_site(
    request: &Request,
    host: &Authority,
    names: &[Domain],
) -> Result<(), Refusal> {
    let headers = request.headers();
    let is_other_site =
        text(headers, "sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let is_safe = [Method::GET, Method::HEAD].contains(request.method());
    let is_link = is_safe
        && text(headers, "sec-fetch-mode") == Some("navigate")
        && text(headers, "sec-fetch-dest") == Some("document");
    let is_form = !request.uri().path().starts_with("/api/");
    let is_other_origin = !is_safe
        && headers.get(header::ORIGIN).is_some_and(|origin| {
            !origin.to_str().is_ok_and(|origin| match origin {
                "null" => is_form,
                origin => is_ours(origin, host, names),
            })
        });
    match (is_other_site && !is_link) || is_other_origin {
        true => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "the request comes from another site",
        )),
        false => Ok(()),
    }
}

/// Returns whether an origin is this page. The configured names count, too, because a proxy may
/// have changed the Host field.
fn is_ours(origin: &str, host: &Authority, names: &[Domain]) -> bool {
    let (scheme, authority) = origin.split_once("://").unwrap_or_default();
    let Ok(authority) = authority.parse::<Authority>() else {
        return false;
    };
    let is_named = |name: &Domain| authority.host().eq_ignore_ascii_case(name.as_str());
    matches!(scheme, "http" | "https") && (authority == *host || names.iter().any(is_named))
}

/// Returns whether a browser sent the request over HTTPS, to a proxy.
pub(super) fn is_https(headers: &HeaderMap) -> bool {
    let host = text(headers, "host").and_then(|host| host.parse::<Authority>().ok());
    // Browsers send this field over HTTPS, and otherwise only to loopback.
    let is_trustworthy = headers.contains_key("sec-fetch-site");
    let is_elsewhere = host.is_some_and(|host| !is_loopback(host.host()));
    (is_trustworthy && is_elsewhere)
        || text(headers, "origin").is_some_and(|origin| origin.starts_with("https://"))
        || text(headers, "x-forwarded-proto") == Some("https")
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = bare.strip_suffix('.').unwrap_or(bare);
    bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        || name.eq_ignore_ascii_case("localhost")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_localhost_or_named() {
        let names = [Domain::parse("mx.example.org").unwrap()];
        let table = [
            ("127.0.0.1", true),
            ("192.0.2.1", true),
            ("[2001:db8::1]", true),
            ("localhost", true),
            ("LOCALHOST.", true),
            ("MX.example.org", true),
            ("mx.example.org.", true),
            ("example.org", false),
            ("a.mx.example.org", false),
            ("localhost.example.org", false),
            ("127.0.0.1.example.org", false),
            ("127.1", false),
            ("2130706433", false),
            ("0x7f.0.0.1", false),
            ("[::1", false),
            ("", false),
        ];
        for (host, want) in table {
            assert_eq!(is_known(host, &names), want, "{host}");
        }
    }
}
