//! Where a vendor's document is not what the vendor does, with the reason. A case belongs here only if somebody saw
//! the vendor do otherwise, or the vendor's newer document says so.

/// A problem that is none.
#[derive(Debug)]
pub(crate) struct Exception {
    /// The vendor.
    pub(crate) vendor: &'static str,
    /// What the problem's text holds, all of it.
    pub(crate) about: &'static [&'static str],
    /// Why it is none.
    #[expect(dead_code, reason = "for whoever reads this file")]
    pub(crate) why: &'static str,
}

const fn except(vendor: &'static str, about: &'static [&'static str], why: &'static str) -> Exception {
    Exception { vendor, about, why }
}

/// All of them.
pub(crate) const EXCEPTIONS: &[Exception] = &[
    except(
        "runpod",
        &["POST /v2/pods", "request", "$.cmd: is not in the document"],
        "newer than the document of August 2026: `cmd` and `entrypoint` are in the specification of runpod/typescript-api-sdk",
    ),
    except("runpod", &["POST /v2/pods", "request", "$.entrypoint: is not in the document"], "as `cmd`"),
    except(
        "runpod",
        &["GET /v2/pods", "query `limit` is not in the document"],
        "newer than the document: pagination is in the specification of runpod/typescript-api-sdk",
    ),
    except("runpod", &["GET /v2/pods", "query `cursor` is not in the document"], "as `limit`"),
];
