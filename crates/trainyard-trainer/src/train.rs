//! The loop: steps, evaluations, checkpoints, and what is told of them.
//!
//! Promises: the same job gives the same adapter, bit for bit on the same kind of processor, whether
//! or not it was interrupted. A step is logged once by the attempt that made it, and not again
//! by one that goes on from a later checkpoint.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::json;

use crate::base::Base;
use crate::batch::{Batch, Rounds};
use crate::checkpoint::{self, Contents, Frame, State};
use crate::data::Sample;
use crate::env::TrainEnv;
use crate::error::TrainError;
use crate::lora::{Adapter, DropoutKey, Parameter};
use crate::metrics::{Metrics, number};
use crate::model::Llama;
use crate::ops;
use crate::optim::{AdamW, clip};
use crate::peft;
use crate::records::{self, Records};
use crate::run::Outcome;
use crate::settings::{EvalWhen, Settings};

/// A training that is ready to take its next step.
pub(crate) struct Training<'a> {
    env: &'a TrainEnv,
    settings: Settings,
    stop: &'a AtomicBool,
    log: &'a mut dyn Write,
    metrics: Metrics,
    model: Llama,
    parameters: Vec<Parameter>,
    adam: AdamW,
    records: Vec<Sample>,
    held_out: Vec<Sample>,
    rounds: Rounds,
    frame: Frame,
    state: State,
    started: Instant,
    steps_here: u64,
    tokens_here: u64,
}

/// What one optimizer step gave.
struct StepReport {
    loss: f64,
    rate: f64,
    norm: f64,
}

impl<'a> Training<'a> {
    /// Reads and checks everything, and goes to where the checkpoint left off.
    pub(crate) fn prepare(
        env: &'a TrainEnv,
        settings: Settings,
        stop: &'a AtomicBool,
        log: &'a mut dyn Write,
    ) -> Result<Self, TrainError> {
        ops::keep_small_products_on_one_thread();
        let base = Base::load(&settings.model_name, env.model_dir.as_deref())?;
        let Records { train: records, held_out } = records::read(env, &settings, &base, log)?;
        let adapter = Adapter::new(&base.config, &settings.lora, settings.seed)?;
        let parameters = adapter.parameters();
        let sizes: Vec<usize> = parameters.iter().map(|parameter| parameter.var.elem_count()).collect();
        let per_step = settings.batch_size * settings.accumulation;
        let rounds = Rounds::new(records.len(), per_step, settings.seed);
        let by_epochs = (settings.num_epochs * rounds.steps_per_epoch() as f64).ceil() as u64;
        let frame = Frame {
            seed: settings.seed,
            total_steps: settings.max_steps.unwrap_or(by_epochs).max(1),
            per_step,
            train_records: records.len(),
            eval_records: held_out.len(),
            learning_rate: settings.learning_rate,
        };
        checkpoint::tidy(&env.checkpoint_dir)?;
        let mut training = Self {
            metrics: Metrics::open(env.metrics_file.as_deref())?,
            model: Llama::new(&base.config, &base.weights, Some(&adapter), false)?,
            adam: AdamW::new(&sizes),
            started: Instant::now(),
            steps_here: 0,
            tokens_here: 0,
            state: State::default(),
            env,
            settings,
            stop,
            log,
            parameters,
            records,
            held_out,
            rounds,
            frame,
        };
        training.introduce(sizes.iter().sum());
        training.resume()?;
        Ok(training)
    }

    fn introduce(&mut self, numbers: usize) {
        let settings = &self.settings;
        let text = format!(
            "training {} with a LoRA of rank {} on {} ({numbers} numbers), {} records, {} held out, {} steps; \
             precision {} asked for, a CPU computes in fp32",
            settings.model_name,
            settings.lora.r,
            settings.lora.targets.join(", "),
            self.records.len(),
            self.held_out.len(),
            self.frame.total_steps,
            settings.precision,
        );
        self.say(&text);
    }

    fn resume(&mut self) -> Result<(), TrainError> {
        let Some(from) = &self.env.resume_from else { return Ok(()) };
        let loaded = checkpoint::load(from, &self.settings.lora, &self.parameters)?;
        self.state = loaded.state;
        self.adam = loaded.adam;
        let text = format!("continuing after step {} from {}", self.state.step, from.display());
        self.say(&text);
        if loaded.frame != self.frame {
            let (then, now) = (&loaded.frame, &self.frame);
            let text = format!(
                "the job differs from the checkpoint's, so will the result: {then:?} then, {now:?} now"
            );
            self.say(&text);
        }
        Ok(())
    }

    /// Trains to the end, or until asked to stop.
    pub(crate) fn run(mut self) -> Result<Outcome, TrainError> {
        let fresh = self.state.step == 0;
        if (fresh || self.state.eval_due) && !self.evaluate()? {
            return self.stopped();
        }
        while self.state.step < self.frame.total_steps {
            if self.asked_to_stop() {
                return self.stopped();
            }
            let report = self.step()?;
            self.log_step(&report)?;
            if self.eval_is_due() && !self.evaluate()? {
                return self.stopped();
            }
            if self.asked_to_stop() {
                return self.stopped();
            }
            if self.settings.save_steps.is_some_and(|every| self.state.step.is_multiple_of(every)) {
                self.save()?;
            }
        }
        self.finish()
    }

    /// One optimizer step over `accumulation` batches.
    fn step(&mut self) -> Result<StepReport, TrainError> {
        let step = self.state.step + 1;
        let chosen = self.rounds.records(step);
        let batches: Vec<Batch> = chosen
            .chunks(self.settings.batch_size)
            .map(|chunk| Batch::new(&chunk.iter().map(|index| &self.records[*index]).collect::<Vec<_>>()))
            .collect();
        let labelled: usize = batches.iter().map(|batch| batch.targets.len()).sum();
        let mut gradients: Vec<Vec<f32>> =
            self.parameters.iter().map(|parameter| vec![0.0; parameter.var.elem_count()]).collect();
        let mut loss = 0.0;
        for (index, batch) in batches.iter().enumerate() {
            let micro_step = step * self.settings.accumulation as u64 + index as u64;
            let key = DropoutKey { seed: self.settings.seed, micro_step };
            loss += add_gradients(&self.model, &self.parameters, batch, &key, labelled, &mut gradients)?;
            self.tokens_here += batch.tokens as u64;
        }
        let norm = clip(&mut gradients, self.settings.max_grad_norm);
        let factor = self.settings.schedule.factor(step, self.settings.warmup_steps, self.frame.total_steps);
        let rate = self.settings.learning_rate * factor;
        if loss.is_finite() && norm.is_finite() {
            self.update(&gradients, rate)?;
        }
        self.state.step = step;
        self.steps_here += 1;
        Ok(StepReport { loss, rate, norm })
    }

    fn update(&mut self, gradients: &[Vec<f32>], rate: f64) -> Result<(), TrainError> {
        self.adam.begin();
        for (index, (parameter, gradient)) in self.parameters.iter().zip(gradients).enumerate() {
            let mut values = parameter.var.flatten_all()?.to_vec1::<f32>()?;
            self.adam.apply(index, &mut values, gradient, rate, self.settings.weight_decay);
            let moved = candle_core::Tensor::from_vec(values, parameter.var.shape(), parameter.var.device())?;
            parameter.var.set(&moved)?;
        }
        Ok(())
    }

    fn log_step(&mut self, report: &StepReport) -> Result<(), TrainError> {
        let (step, total) = (self.state.step, self.frame.total_steps);
        self.state.unlogged.add(report.loss);
        let diverged = !(report.loss.is_finite() && report.norm.is_finite());
        if !step.is_multiple_of(self.settings.logging_steps) && step != total && !diverged {
            return Ok(());
        }
        let loss = std::mem::take(&mut self.state.unlogged).mean();
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        let left = (total - step) as f64 * seconds / self.steps_here as f64;
        let entry = json!({
            "epoch": number(self.epoch()), "grad_norm": number(report.norm), "learning_rate": number(report.rate),
            "loss": number(loss), "step": step,
        });
        let mut point = entry.clone();
        point["progress"] = number(step as f64 / total as f64);
        point["eta_s"] = number((left * 10.0).round() / 10.0);
        point["tokens_per_s"] = number((self.tokens_here as f64 / seconds).round());
        self.metrics.write(&point)?;
        self.state.history.push(entry);
        let (rate, norm) = (short(report.rate), short(report.norm));
        self.say(&format!("step {step}/{total} loss {loss:.4} lr {rate} grad_norm {norm}"));
        if diverged { Err(TrainError::Diverged { step }) } else { Ok(()) }
    }

    /// Says whether it came to its end; false when it was asked to stop on the way.
    fn evaluate(&mut self) -> Result<bool, TrainError> {
        self.state.eval_due = true;
        if self.held_out.is_empty() {
            self.state.eval_due = false;
            return Ok(true);
        }
        let (mut sum, mut count) = (0.0, 0);
        for chunk in self.held_out.chunks(self.settings.batch_size) {
            if self.asked_to_stop() {
                return Ok(false);
            }
            let batch = Batch::new(&chunk.iter().collect::<Vec<_>>());
            sum += f64::from(self.model.loss_sum(&batch, None)?.to_scalar::<f32>()?);
            count += batch.targets.len();
        }
        let (step, loss) = (self.state.step, sum / count as f64);
        let entry = json!({"epoch": number(self.epoch()), "eval_loss": number(loss), "step": step});
        self.metrics.write(&entry)?;
        self.state.history.push(entry);
        self.state.eval_due = false;
        self.say(&format!("step {step}/{} eval_loss {loss:.4}", self.frame.total_steps));
        Ok(true)
    }

    fn eval_is_due(&self) -> bool {
        let step = self.state.step;
        let at_its_time = match self.settings.eval {
            EvalWhen::Never => return false,
            EvalWhen::EachEpoch => step.is_multiple_of(self.rounds.steps_per_epoch()),
            EvalWhen::Every(steps) => step.is_multiple_of(steps),
        };
        at_its_time || step == self.frame.total_steps
    }

    fn stopped(mut self) -> Result<Outcome, TrainError> {
        if self.state.step > 0 {
            self.save()?;
        }
        let text = format!("stopped after step {}", self.state.step);
        self.say(&text);
        Ok(Outcome::Stopped)
    }

    fn save(&mut self) -> Result<(), TrainError> {
        let contents = Contents {
            settings: &self.settings,
            frame: &self.frame,
            epoch: self.epoch(),
            state: &self.state,
            adam: &self.adam,
            parameters: &self.parameters,
        };
        let path = checkpoint::save(&self.env.checkpoint_dir, &contents)?;
        self.say(&format!("saved {}", path.display()));
        Ok(())
    }

    fn finish(mut self) -> Result<Outcome, TrainError> {
        let last = |name: &str| self.state.history.iter().rev().find_map(|entry| entry.get(name)).cloned();
        let told = |name: &str| last(name).map(|value| format!(", {name} {value}")).unwrap_or_default();
        let story = format!("{} steps{}{}.", self.state.step, told("loss"), told("eval_loss"));
        let settings = &self.settings;
        let dir = &self.env.output_dir;
        peft::write_output(dir, &settings.model_name, &settings.lora, &self.parameters, &story)?;
        let text = format!("finished after step {}, adapter in {}", self.state.step, dir.display());
        self.say(&text);
        Ok(Outcome::Finished)
    }

    fn asked_to_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn epoch(&self) -> f64 {
        self.state.step as f64 / self.rounds.steps_per_epoch() as f64
    }

    fn say(&mut self, line: &str) {
        say(self.log, line);
    }
}

/// Four digits, for people.
fn short(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// One write a line; a log that nobody reads any more is no reason to stop.
pub(crate) fn say(log: &mut dyn Write, line: &str) {
    let _ = log.write_all(format!("{line}\n").as_bytes()).and_then(|()| log.flush());
}

/// Adds the gradients of one batch, as its part of the mean over `labelled` tokens, and gives that part
/// of the loss.
pub(crate) fn add_gradients(
    model: &Llama,
    parameters: &[Parameter],
    batch: &Batch,
    key: &DropoutKey,
    labelled: usize,
    gradients: &mut [Vec<f32>],
) -> Result<f64, TrainError> {
    let part = (model.loss_sum(batch, Some(key))? / labelled.max(1) as f64)?;
    let found = part.backward()?;
    for (parameter, sum) in parameters.iter().zip(gradients) {
        if let Some(gradient) = found.get(&parameter.var) {
            let gradient = gradient.flatten_all()?.to_vec1::<f32>()?;
            sum.iter_mut().zip(gradient).for_each(|(sum, gradient)| *sum += gradient);
        }
    }
    Ok(f64::from(part.to_scalar::<f32>()?))
}
