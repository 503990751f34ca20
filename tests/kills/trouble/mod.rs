//! Trouble with the disk, the database and time: said clearly, trainings untouched, over without a restart.

mod database;
mod disk;
mod sleep;

use std::time::Duration;

use trainyard_tests::until;

use crate::yard::{JOBS, Yard, sh};

/// How soon `/readyz` tells of trouble, and of its end. A database that another program holds is waited for 5 s.
const TOLD_WITHIN: Duration = Duration::from_secs(15);

impl Yard {
    /// Waits until `/readyz` says that it is not, and gives its reason.
    fn await_red(&self) -> String {
        until(TOLD_WITHIN, "`/readyz` to be red", || {
            let answer = self.http().get("/readyz");
            (answer.status == 503).then(|| answer.error(503, "not_ready")["detail"].to_string())
        })
    }

    /// Waits until `/readyz` says that it is.
    fn await_green(&self) {
        until(TOLD_WITHIN, "`/readyz` to be green", || {
            (self.http().get("/readyz").status == 200).then_some(())
        });
    }

    /// What can be read is read.
    fn reads(&self, id: &str) {
        self.get(id, "/status");
        self.get(id, "/metrics");
        self.get(id, "/logs");
        self.http().get(JOBS).ok(200);
    }

    /// A job is created, or it is said why not.
    fn creates_or_says_why(&self, id: &str) -> bool {
        let mut body = sh("true");
        body["job_id"] = serde_json::json!(id);
        let answer = self.http().post(JOBS, &body);
        if answer.status == 201 {
            return true;
        }
        let error = answer.error(503, "storage");
        assert!(error["detail"].as_str().is_some_and(|text| text.contains(": ")), "{error}");
        false
    }

    /// Tries to start the server that was ended; what it says where it does not start.
    fn tries_to_start(&mut self) -> Result<(), String> {
        let started = self.server.try_start_again();
        self.moved();
        started
    }
}
