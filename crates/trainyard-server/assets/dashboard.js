"use strict";
// The dashboard: jobs, machines and money, read from the API every two seconds. Costs are carried on between two
// readings, so that they are seen to run. Text comes in as text only: nothing of a job becomes markup.

const EVERY_MS = 2000;
const SHOWN_MAX = 200;
const place = (id) => document.getElementById(id);
let token = sessionStorage.getItem("token");
let running = [];

const element = (name, text, kind) => {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  if (kind) made.className = kind;
  return made;
};
const dollars = (amount) => `$${amount < 1 ? amount.toFixed(4).replace(/(\.\d\d)00$/, "$1") : amount.toFixed(2)}`;
const amount = (cost) => (cost === null || cost === undefined ? 0 : Number(cost.amount));
const when = (text) => (text ? new Date(text).toLocaleString() : "");

async function read(path) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(`/api/training${path}`, { headers, cache: "no-store" });
  if (answer.status === 401) {
    place("ask").hidden = false;
    throw new Error("a token is needed");
  }
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.detail || told.error);
  return told;
}

// A bar of what is used (and set aside) of an amount; `low` from four fifths on, `over` from the whole on.
function bar(used, aside, all, small) {
  const made = element("span", null, small ? "bar small" : "bar");
  const share = (part) => `${Math.min(100, all > 0 ? (100 * part) / all : 100)}%`;
  const [behind, before] = [element("i"), element("b")];
  behind.style.width = share(aside);
  before.style.width = share(used);
  made.append(behind, before);
  return made;
}
const height = (used, all) => (used >= all ? "over" : used >= 0.8 * all ? "low" : "");

function budget(told) {
  const [spent, committed, all] = [told.spent, told.committed, told.per_month].map(amount);
  const row = element("div", null, `budget ${height(spent, all)}`);
  const text = `${dollars(spent)} of ${dollars(all)} spent, ${dollars(Math.max(0, committed - spent))} set aside`;
  row.append(element("span", `${told.name}, ${told.month}`), bar(spent, committed, all), element("span", text));
  return row;
}

function machine(told) {
  const kind = told.alarm ? "alarm" : told.may_be_billed ? "" : "quiet";
  const row = element("tr", null, kind);
  const job = told.attempts.map((attempt) => `${attempt.job_id} (${attempt.attempt})`).join(", ");
  const cost = element("td", dollars(amount(told.cost)), "n");
  if (told.may_be_billed && told.placed_at && told.price_per_hour) {
    running.push({ cell: cost, from: amount(told.cost), price: amount(told.price_per_hour), at: performance.now() });
  }
  let state = told.may_be_billed ? (told.release_asked_at ? "being given back" : "rented") : "gone";
  if (told.may_be_billed && told.warm_until) state = `warm until ${when(told.warm_until)}`;
  if (told.bill && told.bill.settled) state += ", billed";
  if (told.alarm) state = `ALARM: ${told.alarm.code.replace("_", " ")} since ${when(told.alarm.since)}`;
  const price = told.price_per_hour ? dollars(amount(told.price_per_hour)) : "–";
  row.append(element("td", told.provider_job_id || told.order), element("td", told.provider), element("td", job),
    element("td", when(told.placed_at || told.ordered_at)), element("td", price, "n"), cost, element("td", state));
  return row;
}

function job(told) {
  const limit = told.limits.max_cost_usd === null ? null : Number(told.limits.max_cost_usd);
  const spent = amount(told.cost);
  const level = limit === null ? "" : height(spent, limit);
  const row = element("tr", null, told.reason && told.reason.code === "budget_exceeded" ? "alarm" : level ? "warn" : "");
  const progress = told.progress === null ? "" : `${Math.round(100 * told.progress)} %`;
  const of = element("td");
  if (limit !== null) {
    of.className = level;
    of.append(bar(spent, spent, limit, true), element("span", ` ${dollars(limit)}`));
  }
  const state = told.phase ? `${told.state}, ${told.phase}` : told.state;
  const why = told.state === "failed" && told.reason ? `: ${told.reason.code}` : "";
  const labels = Object.entries(told.labels).map(([name, value]) => `${name}:${value}`).join(" ");
  row.append(element("td", told.job_id), element("td", state + why), element("td", told.provider || ""),
    element("td", progress), element("td", dollars(spent), "n"), of, element("td", labels));
  return row;
}

async function show() {
  const [resources, list] = await Promise.all([read("/resources"), read("/jobs?limit=30")]);
  const jobs = await Promise.all(list.jobs.map((row) => read(`/jobs/${encodeURIComponent(row.job_id)}`).catch(() => null)));
  running = [];
  place("alarms").replaceChildren(...resources.alarms.map((alarm) => element("li", alarm.message)));
  place("budgets").replaceChildren(...resources.budgets.map(budget));
  place("jobs").replaceChildren(...jobs.filter((told) => told !== null).map(job));
  const paid = resources.machines.filter((told) => told.price_per_hour !== null);
  place("machines").replaceChildren(...paid.slice(0, SHOWN_MAX).map(machine));
  const open = paid.filter((told) => told.may_be_billed && told.placed_at);
  const rate = open.reduce((sum, told) => sum + amount(told.price_per_hour), 0);
  place("rate").textContent = open.length === 0 ? "Nothing is rented now." :
    `${open.length} ${open.length === 1 ? "machine is" : "machines are"} rented for ${dollars(rate)} per hour.`;
  place("state").textContent = `${list.total} jobs, read ${new Date().toLocaleTimeString()}`;
  place("ask").hidden = true;
}

function tick() {
  for (const one of running) {
    one.cell.textContent = dollars(one.from + (one.price * (performance.now() - one.at)) / 3600000);
  }
}

async function round() {
  try {
    await show();
  } catch (error) {
    place("state").textContent = `not read: ${error.message}`;
  }
  setTimeout(round, EVERY_MS);
}

place("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  token = place("token").value.trim();
  sessionStorage.setItem("token", token);
  show().catch((error) => { place("state").textContent = `not read: ${error.message}`; });
});
setInterval(tick, 500);
round();
