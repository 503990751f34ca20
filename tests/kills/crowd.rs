//! Clients that submit, cancel and ask while the server comes and goes. They repeat what was not answered, as clients do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use trainyard_tests::{Answer, Call, Http};

use crate::yard::{Address, JOBS, counting, is_end, sh};

/// What a job is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It trains so many steps and leaves its name.
    Counts(u64),
    /// Its training ends with 3.
    Fails,
    /// It trains for ever, and is cancelled.
    Cancelled,
    /// A pod of RunPod's that is told and not done.
    Scripted,
}

/// A job whose submission was answered with 2xx.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) id: String,
    pub(crate) fate: Fate,
    ended: bool,
}

/// What the clients know.
#[derive(Debug, Default)]
struct Known {
    accepted: Vec<Accepted>,
    created: usize,
    unanswered: usize,
    refused: Vec<String>,
}

/// A thread of clients.
#[derive(Debug)]
pub(crate) struct Crowd {
    known: Arc<Mutex<Known>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What becomes of a crowd's jobs when it goes home.
#[derive(Debug)]
pub(crate) struct Crowded {
    /// Every job that was accepted.
    pub(crate) accepted: Vec<Accepted>,
    /// Requests that got no answer.
    pub(crate) unanswered: usize,
    /// Submissions that were answered with an error.
    pub(crate) refused: Vec<String>,
}

impl Crowd {
    /// Keeps about so many jobs under way.
    pub(crate) fn start(address: &Address, under_way: usize) -> Crowd {
        let (known, stop) = (Arc::new(Mutex::new(Known::default())), Arc::new(AtomicBool::new(false)));
        let client = Client {
            address: address.clone(),
            known: Arc::clone(&known),
            stop: Arc::clone(&stop),
            under_way,
        };
        Crowd { known, stop, thread: Some(std::thread::spawn(move || client.work())) }
    }

    /// Jobs that were accepted and have not ended, as far as the clients know.
    pub(crate) fn open(&self) -> Vec<String> {
        let known = lock(&self.known);
        known.accepted.iter().filter(|job| !job.ended).map(|job| job.id.clone()).collect()
    }

    /// Nothing more is submitted. The server must be there.
    pub(crate) fn end(mut self) -> Crowded {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the clients");
        }
        let known = std::mem::take(&mut *lock(&self.known));
        Crowded { accepted: known.accepted, unanswered: known.unanswered, refused: known.refused }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Client {
    address: Address,
    known: Arc<Mutex<Known>>,
    stop: Arc<AtomicBool>,
    under_way: usize,
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    fn work(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let open: Vec<Accepted> =
                lock(&self.known).accepted.iter().filter(|job| !job.ended).cloned().collect();
            if open.len() < self.under_way {
                self.next();
            }
            for job in open {
                self.look_after(&job);
            }
            // waits: a client's breath, so that it is not the load that is tested
            std::thread::sleep(Duration::from_millis(20));
        }
        // Nobody is left running for ever.
        let open: Vec<Accepted> = lock(&self.known).accepted.clone();
        for job in open.iter().filter(|job| job.fate == Fate::Cancelled) {
            self.cancel(&job.id);
        }
    }

    /// Creates a job and submits it, until it is known what came of it.
    fn next(&self) {
        let n = {
            let mut known = lock(&self.known);
            known.created += 1;
            known.created
        };
        let id = format!("job-{n}");
        let (provider, fate) = match n % 10 {
            0 => ("vastai", Fate::Counts(10)),
            1 | 3 | 5 | 7 | 8 => ("runpod", Fate::Scripted),
            2 => ("local", Fate::Fails),
            4 => ("local", Fate::Cancelled),
            6 if n.is_multiple_of(4) => ("lambda", Fate::Counts(10)),
            _ => ("local", Fate::Counts(20)),
        };
        let mut spec = match fate {
            Fate::Counts(steps) => counting(&id, steps, 0),
            Fate::Fails => counting(&id, 5, 3),
            Fate::Cancelled => sh("while :; do sleep 0.2; done"),
            Fate::Scripted => sh("true"),
        };
        spec["job_id"] = json!(id);
        let created = self.insist(|http| http.call("POST", JOBS).json(&spec));
        // What was asked again may have been done the first time.
        assert!(matches!(created.status, 201 | 409), "{id}: {}", created.text());
        let submit = |http: &Http| {
            let call = http.call("POST", &format!("{JOBS}/{id}/submit")).header("Prefer", "respond-async");
            call.json(&json!({"provider": provider}))
        };
        let answer = self.insist(submit);
        let mut known = lock(&self.known);
        match answer.status {
            200 | 202 => known.accepted.push(Accepted { id, fate, ended: false }),
            // It had ended before it was asked again.
            400 if answer.text().contains("ended") => {
                known.accepted.push(Accepted { id, fate, ended: false })
            }
            _ => known.refused.push(format!("{id} at {provider}: {} {}", answer.status, answer.text())),
        }
    }

    fn look_after(&self, job: &Accepted) {
        let path = format!("{JOBS}/{}/status", job.id);
        // A question may go unanswered: it is asked again the next time.
        let Ok(answer) = self.address.http().call("GET", &path).attempt() else { return };
        assert_eq!(answer.status, 200, "an accepted job is lost: {}", answer.text());
        let status: Value = answer.json();
        if is_end(&status["state"]) {
            let mut known = lock(&self.known);
            known.accepted.iter_mut().filter(|known| known.id == job.id).for_each(|known| known.ended = true);
        } else if job.fate == Fate::Cancelled && status["state"] == "running" {
            self.cancel(&job.id);
        }
    }

    fn cancel(&self, id: &str) {
        let answer = self.insist(|http| http.call("POST", &format!("{JOBS}/{id}/cancel")));
        assert!(matches!(answer.status, 200 | 202 | 400), "{id}: {}", answer.text());
    }

    /// Asks until there is an answer that is no trouble of a server that comes or goes.
    fn insist(&self, call: impl Fn(&Http) -> Call) -> Answer {
        loop {
            match call(&self.address.http()).attempt() {
                Ok(answer) if answer.status != 503 => return answer,
                _ => lock(&self.known).unanswered += 1,
            }
            // waits: for the server to be back
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
