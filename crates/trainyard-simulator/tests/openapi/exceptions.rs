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
    except(
        "vastai",
        &["PUT /api/v0/asks/{id}", "request", "$.env:", "is not of type string"],
        "Vast.ai takes an object only and says `env must be a dict` of anything else (skypilot-org/skypilot#9486)",
    ),
    except(
        "vastai",
        &["POST /api/v0/bundles", "request", "$.type: \"on-demand\""],
        "the vendor's own command line sends it, and so does the document's own example",
    ),
    except(
        "vastai",
        &["POST /api/v0/bundles", "request", "$.order: a size of"],
        "the two elements are the pair's, not the list's: the vendor's own command line sends one pair",
    ),
    except(
        "vastai",
        &["DELETE /api/v0/instances/{id}", "request: a body where none is told of: {}"],
        "the vendor's own command line sends an empty object",
    ),
    except(
        "vastai",
        &["GET /api/v0/instances/{id}", "$.instances: null"],
        "what the vendor's own command line takes for an instance that is no more",
    ),
    except(
        "vastai",
        &["GET /api/v0/instances/{id}", "$.instances.ports:", "is not of type array"],
        "an object by port, null until the container runs (vast-ai/vast-cli#112), as the document's own list of instances has it",
    ),
    except(
        "vastai",
        &["GET /api/v0/instances/{id}", "$.instances.extra_env", "is not of type string"],
        "a list of pairs, as the document's own list of instances has it; the vendor's command line crashes on another form",
    ),
    except(
        "lambda",
        &["/api/v1/instance", "name: null is not of type string"],
        "optional fields are missing or null while a machine boots, of which there is no telling beforehand (skypilot-org/skypilot#1678)",
    ),
    except(
        "lambda",
        &["/api/v1/instance", "ip: null is not of type string"],
        "as `name`; the same for `private_ip` (skypilot-org/skypilot#4634)",
    ),
    except("lambda", &["/api/v1/instance", "hostname: null is not of type string"], "as `name`"),
    except("lambda", &["/api/v1/instance", "jupyter_token: null is not of type string"], "as `name`"),
    except("lambda", &["/api/v1/instance", "jupyter_url: null is not of type string"], "as `name`"),
];
