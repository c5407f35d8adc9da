// Keeps the dashboard up to date from /_tq/api/events, shows the log, and sends what the buttons ask for.
// Everything that comes from the server is put into the page as text, never as markup.
"use strict";

const RECORDS_MAX = 500; // lines of log on the page
const SECONDS = 60; // of a sparkline
const SAID_MS = 4000; // how long a message stays

const api = "/_tq/api";
const link = document.getElementById("link");
const records = document.getElementById("records");
const whose = document.getElementById("whose");
const rates = new Map(); // worker -> requests per second, oldest first
const counts = new Map(); // worker -> requests so far
let latest = new Map();

function article(name) {
  return document.querySelector(`article[data-worker="${CSS.escape(name)}"]`);
}

function put(card, part, text) {
  const place = card.querySelector(`[data-is=${part}]`);
  if (place.textContent !== text) place.textContent = text;
}

function milliseconds(seconds) {
  return seconds ? `${Number((seconds * 1000).toPrecision(3))} ms` : "-";
}

function showWorker(worker) {
  const card = article(worker.name);
  if (!card) {
    location.reload(); // one that was not there: the server draws it
    return;
  }
  card.dataset.state = worker.state;
  const healthy = worker.instances.filter((instance) => instance.state === "healthy").length;
  put(card, "state", worker.state);
  put(card, "instances", worker.wanted ? `${healthy} of ${worker.wanted} instances` : "");
  put(card, "reason", worker.reason);
  put(card, "remedy", worker.remedy);
  put(card, "output", worker.build.state === "failed" ? worker.build.output.join("\n") : "");
}

function showLoad(load) {
  for (const [name, numbers] of Object.entries(load.workers)) {
    const card = article(name);
    if (!card) continue;
    put(card, "requests", String(numbers.requests));
    put(card, "errors", String(numbers.errors));
    put(card, "p99", milliseconds(numbers.p99_s));
    put(card, "memory", numbers.memory ? `${Math.round(numbers.memory / 2 ** 20)} MiB` : "-");
    latest.set(name, numbers.requests);
  }
}

function drawSparks() {
  for (const [name, requests] of latest) {
    const seen = rates.get(name) ?? [];
    seen.push(Math.max(0, requests - (counts.get(name) ?? requests)));
    counts.set(name, requests);
    if (seen.length > SECONDS) seen.shift();
    rates.set(name, seen);
    const most = Math.max(1, ...seen);
    const line = article(name)?.querySelector("polyline");
    line?.setAttribute(
      "points",
      seen.map((rate, at) => `${SECONDS - seen.length + at},${15 - (14 * rate) / most}`).join(" "),
    );
  }
}

function showConfig(config) {
  const list = document.getElementById("problems");
  list.replaceChildren(
    ...config.problems.map((problem) => {
      const item = document.createElement("li");
      item.textContent = problem;
      return item;
    }),
  );
}

function follow() {
  const events = new EventSource(`${api}/events`);
  const hear = (name, act) => events.addEventListener(name, (event) => act(JSON.parse(event.data)));
  events.onopen = () => {
    link.textContent = "live";
    link.classList.add("on");
  };
  events.onerror = () => {
    link.textContent = "not connected";
    link.classList.remove("on");
  };
  hear("status", (status) => {
    for (const card of document.querySelectorAll("article")) {
      if (!status.workers.some((worker) => worker.name === card.dataset.worker)) card.remove();
    }
    status.workers.forEach(showWorker);
    showConfig(status.config);
  });
  hear("worker", (event) => showWorker(event.worker));
  hear("removed", (event) => article(event.name)?.remove());
  hear("config", showConfig);
  hear("load", showLoad);
}

let log = null;
function followLog() {
  log?.close();
  records.replaceChildren();
  const path = whose.value ? `/logs/${whose.value.split("/").map(encodeURIComponent).join("/")}` : "/logs";
  log = new EventSource(`${api}${path}?follow=true&lines=50`);
  log.onopen = () => records.replaceChildren();
  log.addEventListener("record", (event) => {
    const atEnd = records.scrollHeight - records.scrollTop - records.clientHeight < 40;
    const line = document.createElement("li");
    line.textContent = JSON.parse(event.data).text;
    records.append(line);
    while (records.childElementCount > RECORDS_MAX) records.firstElementChild.remove();
    if (atEnd) records.scrollTop = records.scrollHeight;
  });
}

async function listLogs() {
  const answer = await fetch(`${api}/logs`);
  for (const { name } of (await answer.json()).logs) {
    if (name !== "access") whose.append(new Option(name.replace(/^worker\//, ""), name));
  }
}

let silence = 0;
function say(text) {
  document.getElementById("said").textContent = text;
  clearTimeout(silence);
  silence = setTimeout(() => say(""), SAID_MS);
}

async function command(button) {
  const worker = button.closest("article").dataset.worker;
  button.setAttribute("aria-busy", "true");
  try {
    const path = `${api}/workers/${encodeURIComponent(worker)}/${button.dataset.command}?wait=60`;
    const answer = await fetch(path, { method: "POST", headers: { "X-TQ": "1" } });
    const told = await answer.json();
    if (!answer.ok) say(told.detail);
    else if (told.settled) say(`${worker} is ${told.worker?.state ?? "gone"}.`);
    else say(`${worker} is still ${told.worker?.state ?? "busy"}.`);
  } catch (error) {
    say(`The server did not answer: ${error.message}`);
  } finally {
    button.removeAttribute("aria-busy");
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-command]");
  if (button && button.getAttribute("aria-busy") !== "true") command(button);
});
whose.addEventListener("change", followLog);
listLogs();
follow();
followLog();
setInterval(drawSparks, 1000);
