//! Whose machine is whose.

use trainyard_domain::InstallationId;

use super::make::*;
use super::trial::{Can, Trial};

pub(super) async fn listed_by_name(trial: &dyn Trial) -> Can<()> {
    assert_eq!(list(trial).await, [], "nothing is rented yet");
    let (one, first) = place(trial).await;
    let (other, second) = place(trial).await;
    for (name, placed) in [(&one, &first), (&other, &second)] {
        let seen = found(trial, name).await;
        assert_eq!((&seen.order, &seen.id), (name, &placed.id));
        assert_eq!(listed(trial, name).await.len(), 1, "once");
    }
    assert_ne!(first.id, second.id);
    give_back(trial, &found(trial, &one).await).await;
    assert_eq!(listed(trial, &other).await.len(), 1, "the other one is still there");
    Ok(())
}

pub(super) async fn nobody_elses(trial: &dyn Trial) -> Can<()> {
    let (mine, _) = place(trial).await;
    found(trial, &mine).await;
    let other: InstallationId = "somebody".parse().expect("an installation");
    let theirs = trial.connector().list_owned(&other).await.expect("a list");
    assert_eq!(theirs, [], "what is listed for another installation");
    let names = ["my-notebook", "ty-", "", "ty-somebody-01arz3ndektsv4rrffq69g5fav"];
    let alike = format!("{mine}x");
    for name in names.into_iter().chain([alike.as_str()]) {
        trial.stranger(name).await?;
    }
    let ours: Vec<_> = list(trial).await.into_iter().map(|it| it.order).collect();
    assert_eq!(ours, [mine]);
    Ok(())
}

pub(super) async fn found_after_restart(trial: &dyn Trial) -> Can<()> {
    let (name, placed) = place(trial).await;
    found(trial, &name).await;
    let later = trial.reconnect().await;
    let seen = later.list_owned(&trial.installation()).await.expect("the list of ours");
    let seen: Vec<_> = seen.iter().map(|it| (&it.order, &it.id)).collect();
    assert_eq!(seen, [(&name, &placed.id)]);
    let observed = later.observe(&name, &placed.id).await.expect("an observation");
    assert_eq!((&observed.order, &observed.id), (&name, &placed.id));
    Ok(())
}

pub(super) async fn every_page(trial: &dyn Trial) -> Can<()> {
    let count = trial.page()? * 2 + 1;
    let mut expected = Vec::new();
    for _ in 0..count {
        expected.push(place(trial).await.0);
    }
    expected.sort();
    until(trial, "every machine is listed", async || {
        let mut seen: Vec<_> = list(trial).await.into_iter().map(|it| it.order).collect();
        seen.sort();
        let mut once = seen.clone();
        once.dedup();
        assert_eq!(seen, once, "each one once");
        (seen == expected).then_some(())
    })
    .await;
    Ok(())
}
