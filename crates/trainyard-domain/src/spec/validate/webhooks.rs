//! Who is told: addresses that can be addresses, milestones that exist. Whether an address may be called
//! (private ranges) is for whoever calls it.

use super::findings::{Findings, shown};
use crate::{NotificationKind, Webhook};

/// Most webhooks of a job.
const WEBHOOKS_MAX: usize = 16;
/// Longest address, in bytes.
const URL_BYTES_MAX: usize = 2048;

pub(super) fn check(webhooks: &[Webhook], found: &mut Findings) {
    found.count("webhooks", webhooks.len(), 0..=WEBHOOKS_MAX, "webhooks");
    for (i, hook) in webhooks.iter().enumerate() {
        if let Err(why) = url(&hook.url) {
            found.wrong(
                format!("webhooks[{i}].url"),
                format!("{why}: write an address such as `https://example.org/hook`"),
            );
        }
        let field = format!("webhooks[{i}].events");
        for (j, event) in hook.events.iter().enumerate() {
            if !NotificationKind::ALL.iter().any(|kind| kind.as_str() == event) {
                let all = NotificationKind::ALL.map(NotificationKind::as_str).join(", ");
                found.wrong(format!("{field}[{j}]"), format!("is `{}`: use one of {all}", shown(event)));
            }
        }
        found.unique(&field, hook.events.iter().map(String::as_str));
    }
}

/// Whether that is an `http` or `https` URL (RFC 3986) without credentials, and why not.
fn url(text: &str) -> Result<(), &'static str> {
    if text.len() > URL_BYTES_MAX {
        return Err("is longer than 2048 bytes");
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("holds a character that no URL holds unescaped");
    }
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let rest = rest.ok_or("does not begin with `https://` or `http://`")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("holds a user name or password, which would be stored and shown");
    }
    if is_host_and_port(authority) { Ok(()) } else { Err("does not name a host") }
}

/// Refuses credentials in the address of a source, without repeating them.
pub(super) fn no_credentials(field: &str, url: &str, found: &mut Findings) {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    if rest.split(['/', '?', '#']).next().unwrap_or_default().contains('@') {
        found.wrong(
            field,
            "holds a user name or password, which would be stored and shown: upload the file instead",
        );
    } else {
        super::program::no_token(field, "", url, found);
    }
}

fn is_host_and_port(authority: &str) -> bool {
    let port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with('+');
    if let Some(rest) = authority.strip_prefix('[') {
        let Some((host, after)) = rest.split_once(']') else { return false };
        return host.parse::<std::net::Ipv6Addr>().is_ok()
            && (after.is_empty() || after.strip_prefix(':').is_some_and(port));
    }
    let (host, port_fits) = match authority.split_once(':') {
        Some((host, text)) => (host, port(text)),
        None => (authority, true),
    };
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
    };
    port_fits && host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(is_label)
}
