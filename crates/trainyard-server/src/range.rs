//! `Range` and entity tags of a download, `Content-Range` of an upload (RFC 9110, sections 13 and 14).

/// What a `Range` header comes to for a file of that length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it: no range, one that cannot be read, or several (which a server may ignore).
    All,
    /// Bytes `from` to before `until`.
    Part {
        /// The first byte.
        from: u64,
        /// The byte after the last.
        until: u64,
    },
    /// Nothing of the file lies in it: 416.
    Outside,
}

/// Reads a `Range` header.
pub(crate) fn wanted(header: &str, length: u64) -> Wanted {
    let Some((first, last)) = header
        .trim()
        .strip_prefix("bytes=")
        .filter(|set| !set.contains(','))
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Wanted::All;
    };
    match (first.is_empty(), digits(first), last.is_empty(), digits(last)) {
        (true, _, false, Some(0)) => Wanted::Outside,
        (true, _, false, Some(_)) if length == 0 => Wanted::Outside,
        (true, _, false, Some(suffix)) => Wanted::Part { from: length.saturating_sub(suffix), until: length },
        (false, Some(from), _, _) if from >= length => match (last.is_empty(), digits(last)) {
            (false, Some(last)) if last < from => Wanted::All,
            (false, None) => Wanted::All,
            _ => Wanted::Outside,
        },
        (false, Some(from), true, _) => Wanted::Part { from, until: length },
        (false, Some(from), false, Some(last)) if last >= from => {
            Wanted::Part { from, until: last.saturating_add(1).min(length) }
        }
        _ => Wanted::All,
    }
}

/// What a `Content-Range` header says of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Bytes `from` to before `until` of `total`.
    Bytes {
        /// The first byte.
        from: u64,
        /// The byte after the last.
        until: u64,
        /// The whole file's length.
        total: u64,
    },
    /// Only a question how much is there: `bytes */total`.
    Ask,
}

/// Reads a `Content-Range` header; `Err` says what is wrong.
pub(crate) fn part(header: &str) -> Result<Part, &'static str> {
    const FORM: &str = "write `Content-Range: bytes FIRST-LAST/TOTAL`, or `bytes */TOTAL` to ask";
    let (range, total) =
        header.trim().strip_prefix("bytes ").and_then(|rest| rest.split_once('/')).ok_or(FORM)?;
    if range.trim() == "*" {
        return Ok(Part::Ask);
    }
    let total = digits(total.trim())
        .ok_or("name the whole file's length: `Content-Range: bytes FIRST-LAST/TOTAL`")?;
    let (first, last) = range.trim().split_once('-').ok_or(FORM)?;
    let (from, last) = digits(first).zip(digits(last)).ok_or(FORM)?;
    if last < from || last >= total {
        return Err("the range ends before it begins, or beyond the whole file's length");
    }
    Ok(Part::Bytes { from, until: last + 1, total })
}

/// Whether an `If-None-Match` header names that entity tag (weak comparison, as the RFC wants for it).
pub(crate) fn etag_matches(header: &str, etag: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    header.trim() == "*" || header.split(',').any(|tag| bare(tag) == bare(etag))
}

fn digits(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_has_them() {
        let part = |from, until| Wanted::Part { from, until };
        let cases = [
            ("bytes=0-9", part(0, 10)),
            ("bytes=10-", part(10, 100)),
            ("bytes=-10", part(90, 100)),
            ("bytes=-1000", part(0, 100)),
            ("bytes=99-99", part(99, 100)),
            ("bytes=0-18446744073709551615", part(0, 100)),
            ("bytes=100-", Wanted::Outside),
            ("bytes=100-200", Wanted::Outside),
            ("bytes=-0", Wanted::Outside),
            ("bytes=9-0", Wanted::All),
            ("bytes=200-100", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=a-b", Wanted::All),
            ("bytes=0-1,5-6", Wanted::All),
            ("lines=0-1", Wanted::All),
            ("bytes=+1-2", Wanted::All),
        ];
        for (header, expected) in cases {
            assert_eq!(wanted(header, 100), expected, "{header}");
        }
        assert_eq!(wanted("bytes=0-", 0), Wanted::Outside);
        assert_eq!(wanted("bytes=-5", 0), Wanted::Outside);
    }

    #[test]
    fn entity_tags_are_compared_weakly() {
        assert!(etag_matches("\"a\"", "\"a\""));
        assert!(etag_matches("\"b\", W/\"a\"", "\"a\""));
        assert!(etag_matches("*", "\"a\""));
        assert!(!etag_matches("\"b\"", "\"a\""));
        assert!(!etag_matches("a", "\"a\""));
    }

    #[test]
    fn parts_of_an_upload_are_read_or_refused() {
        assert_eq!(part("bytes 0-9/100"), Ok(Part::Bytes { from: 0, until: 10, total: 100 }));
        assert_eq!(part("bytes 90-99/100"), Ok(Part::Bytes { from: 90, until: 100, total: 100 }));
        assert_eq!(part("bytes */100"), Ok(Part::Ask));
        for bad in ["bytes 0-9/*", "bytes 0-100/100", "bytes 9-0/100", "bytes 0-9", "items 0-9/10", ""] {
            assert!(part(bad).is_err(), "{bad}");
        }
    }
}
