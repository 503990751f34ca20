//! Every instance of the account: all pages, or an error. Never half of them.

use std::collections::{BTreeMap, HashSet};

use trainyard_connector::{ConnectorError, ErrorKind};

use crate::api::Api;
use crate::wire::Instance;

/// Most pages of a listing, of 25 each.
const PAGES_MAX: usize = 400;

/// Every instance, by id. Where Vast counts more than the pages held (some came or went meanwhile), a second pass is made
/// and both count together.
pub(crate) async fn all_instances(api: &Api) -> Result<Vec<Instance>, ConnectorError> {
    let mut found = BTreeMap::new();
    let counted = pass(api, &mut found).await?;
    if counted.is_some_and(|counted| counted > found.len() as u64) {
        let again = pass(api, &mut found).await?;
        if again.is_some_and(|counted| counted > found.len() as u64) {
            return Err(bad("counts more machines than it lists"));
        }
    }
    Ok(found.into_values().collect())
}

/// One pass over the pages; what Vast counts in all.
async fn pass(api: &Api, found: &mut BTreeMap<u64, Instance>) -> Result<Option<u64>, ConnectorError> {
    let mut tokens = HashSet::new();
    let mut after: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let page = api.instances(after.as_deref()).await?;
        for instance in page.instances {
            let id = instance.id.whole().ok_or_else(|| bad("lists a machine whose id is no number"))?;
            found.insert(id, instance);
        }
        match page.next_token.filter(|token| !token.is_empty()) {
            None => return Ok(page.total_instances.and_then(|count| count.whole())),
            Some(token) if !tokens.insert(token.clone()) => {
                return Err(bad("lists the same page of machines again and again"));
            }
            Some(token) => after = Some(token),
        }
    }
    Err(bad("lists more machines than can be read"))
}

fn bad(what: &str) -> ConnectorError {
    ConnectorError::unknown(ErrorKind::Unreachable, format!("Vast.ai {what}"))
}
