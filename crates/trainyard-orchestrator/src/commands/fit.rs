//! The checks of a job against where it is to go: fields, memory, price. They rest on the cache of offers, so a
//! provider that does not answer is a warning here; the order will tell.

use std::sync::Arc;

use secrecy::ExposeSecret;
use trainyard_connector::{Offer, gpu};
use trainyard_domain::{Job, JobSpec, Machine, ProviderName, TINY_MODEL, TrainerKind};

use super::offers::{cheapest, recent};
use super::validate::Found;
use crate::core::{Core, Provider};
use crate::offers::everything;
use crate::{Error, warm};

/// Checks a job against the providers it may go to.
pub(super) async fn check(
    core: &Arc<Core>,
    job: &Job,
    names: &[&ProviderName],
    on: Option<&Machine>,
    found: &mut Found,
) -> Result<(), Error> {
    // The limits may have been changed since it was created.
    let spec = &JobSpec { limits: job.limits().clone(), ..job.spec().as_ref().clone() };
    registry(core, spec, found).await?;
    let known = names.iter().filter_map(|name| Some((*name, core.providers.get(*name)?)));
    let rents: Vec<(&ProviderName, &Provider)> = known.filter(|(_, provider)| provider.costs()).collect();
    if rents.is_empty() {
        return Ok(());
    }
    fields(core, spec, &rents, found);
    for (_, provider) in &rents {
        found.warnings.extend(provider.connector.surprises(spec));
    }
    if let Some(machine) = on {
        return warm_machine(core, job, machine, found).await;
    }
    let mut offers: Vec<Offer> = Vec::new();
    for (_, provider) in rents.iter().filter(|(_, provider)| provider.connector.info().capabilities.offers) {
        let known = recent(core, provider, &everything()).await;
        offers.extend(known.reading.iter().flat_map(|reading| reading.offers.iter().cloned()));
    }
    cards(spec, &offers, found);
    prices(core, spec, &rents, found).await;
    Ok(())
}

/// The machine that is there already, instead of what is for rent.
async fn warm_machine(
    core: &Arc<Core>,
    job: &Job,
    machine: &Machine,
    found: &mut Found,
) -> Result<(), Error> {
    let Some(keeper) = warm::keeper(core, machine).await? else { return Ok(()) };
    for error in warm::unfit(core, job, machine, &keeper.job) {
        found.wrong("machine_unfit", &error.field, error.message);
    }
    found.checked.push(format!("machine: `{}` is kept warm by the job `{}`", machine.order, keeper.job.id()));
    Ok(())
}

/// Fields that a rented machine reads in another way than this one.
fn fields(core: &Core, spec: &JobSpec, rents: &[(&ProviderName, &Provider)], found: &mut Found) {
    let most = core.policy.cloud_max_duration_s;
    if spec.limits.max_duration_s > most {
        let message = format!("is over this installation's ceiling of {most} seconds for rented machines");
        found.wrong("duration_ceiling", "limits.max_duration_s", message);
    }
    if spec.trainer_kind() == TrainerKind::Builtin && spec.model_name != TINY_MODEL {
        let places: Vec<String> = rents.iter().map(|(name, _)| format!("`{name}`")).collect();
        let message = format!(
            "is a directory of this machine, which is not there on {}: submit to `local`, or train with a `command`",
            places.join(", ")
        );
        found.wrong("model_not_here", "model_name", message);
    }
}

/// The login of an image's registry, which is a secret of the form `USER:PASSWORD`.
async fn registry(core: &Core, spec: &JobSpec, found: &mut Found) -> Result<(), Error> {
    const FIELD: &str = "environment.registry_auth";
    let Some(name) = &spec.environment.registry_auth else { return Ok(()) };
    let Some(sealed) = core.storage.secret(name).await? else {
        let message =
            format!("names `{name}`, which is not stored: set it with `trainyard secret set {name}`");
        found.wrong("secret_missing", FIELD, message);
        return Ok(());
    };
    if !core.vault.open(name, &sealed.sealed)?.expose_secret().contains(':') {
        let message = format!("names `{name}`, whose value is not of the form USER:PASSWORD: set it again");
        found.wrong("registry_auth_invalid", FIELD, message);
    }
    Ok(())
}

/// The GPUs that are asked for: known by name, with memory enough, and for rent as asked.
fn cards(spec: &JobSpec, offers: &[Offer], found: &mut Found) {
    let least = spec.least_gpu_memory_gb();
    for (i, asked) in spec.resources.gpu.iter().enumerate() {
        let field = format!("resources.gpu[{i}]");
        let there: Vec<&Offer> = offers.iter().filter(|offer| gpu::fits(asked, offer)).collect();
        if there.is_empty() && known(asked).is_none() && !offers.is_empty() {
            let shown: String = asked.chars().take(40).flat_map(char::escape_default).collect();
            let message = format!(
                "is `{shown}`, no GPU that is known or for rent there: `trainyard offers` shows what there is"
            );
            found.wrong("unknown_gpu", &field, message);
        }
        // What is for rent tells; else the list of cards.
        let listed = || known(asked).and_then(|word| word.memory_gb.iter().copied().max());
        let memory = there.iter().map(|offer| offer.gpu_memory_gb).max().or_else(listed);
        if let (Some(least), Some(memory)) = (least, memory)
            && memory < least
        {
            found.warn(
                &field,
                format!("has {memory} GB, and this training probably needs at least {least} GB"),
            );
        }
    }
    if let (Some(least), Some(asked)) = (least, spec.resources.gpu_memory_gb)
        && asked < least
    {
        let message = format!("is {asked}, and this training probably needs at least {least} GB");
        found.warn("resources.gpu_memory_gb", message);
    }
    if spec.resources.spot && !offers.is_empty() && !offers.iter().any(|offer| offer.spot) {
        found.warn(
            "resources.spot",
            "is of no use there: no machine is for rent that way, and others are taken",
        );
    }
}

/// The list's word for a name, with or without its memory.
fn known(asked: &str) -> Option<&'static gpu::Word> {
    let canonical = gpu::canonical(asked, 0);
    let base =
        canonical.rsplit_once('-').filter(|(_, size)| size.ends_with("GB")).map_or(&*canonical, |(b, _)| b);
    gpu::WORDS.iter().find(|word| word.word == base)
}

/// What it costs, against every ceiling. The cheapest of all places counts.
async fn prices(core: &Core, spec: &JobSpec, rents: &[(&ProviderName, &Provider)], found: &mut Found) {
    let (mut best, mut reasons): (Option<(&ProviderName, Offer)>, Vec<_>) = (None, Vec::new());
    for (name, provider) in rents.iter().filter(|(_, p)| p.connector.info().capabilities.offers) {
        match cheapest(core, name, provider, spec).await {
            Ok(offer) if best.as_ref().is_none_or(|(_, b)| offer.price_per_hour < b.price_per_hour) => {
                best = Some((*name, offer));
            }
            Ok(_) => {}
            Err(reason) => reasons.push(reason),
        }
    }
    if let Some((name, offer)) = best {
        let (price, most) = (offer.price_per_hour, spec.limits.max_duration_s);
        found.checked.push(format!(
            "offers: {} × {} at `{name}` ({}) for ${price} per hour, at most ${} in {most} s",
            offer.gpu_count,
            offer.gpu,
            offer.region,
            price.per_hour_for(most)
        ));
        return;
    }
    for reason in reasons {
        let advice = reason.suggestion.as_deref().map(|s| format!("; {s}")).unwrap_or_default();
        let message = format!("cannot be met: {}{advice}", reason.message);
        match reason.code.as_str() {
            "price_ceiling" => found.wrong("price_ceiling", "resources.max_price_per_hour", message),
            "budget" => found.wrong("budget", "limits.max_cost_usd", message),
            // Stock moves by the minute; the order asks again.
            _ => found.warn("resources", format!("may not be met now: {}{advice}", reason.message)),
        }
    }
}
