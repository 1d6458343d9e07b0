// Brings the pages to life: polls what is live (less and less while nothing happens), tails logs, and lets a node be dragged onto a role.
// Without this file every page still shows its state and every action still works.

(function () {
  "use strict";

  const WORKING = 1000, QUIET_FIRST = 2000, QUIET_LAST = 15000, LOST_LAST = 30000;
  let pause = WORKING, timer = null, dragged = null, inFlight = 0;

  const live = () => document.querySelectorAll("[data-live]");
  const schedule = (after) => { clearTimeout(timer); timer = setTimeout(tick, after); };

  // ---------------------------------------------------------------- polling

  function isBusy(region) {
    const focus = document.activeElement;
    const typing = focus && region.contains(focus) && focus.matches("input:not([type=checkbox]), select, textarea");
    return typing || dragged !== null || String(document.getSelection()) !== "" && region.contains(document.getSelection().anchorNode);
  }

  function tick() {
    if (document.hidden) return;  // visibilitychange starts it again
    for (const region of live()) if (!isBusy(region)) htmx.trigger(region, "tick");
    schedule(pause);
  }

  document.addEventListener("visibilitychange", () => { if (!document.hidden) { pause = WORKING; tick(); } });

  document.addEventListener("htmx:configRequest", (event) => {
    const region = event.detail.elt;
    if (region.dataset.seen) event.detail.headers["Crowbar-Seen"] = region.dataset.seen;
    if (region.dataset.live === "log") event.detail.parameters.after = region.lastElementChild ? region.lastElementChild.dataset.seq : "0";
    const token = document.querySelector("meta[name=csrf-token]");
    if (token && event.detail.verb !== "get") event.detail.headers["X-CSRFToken"] = token.content;
  });

  document.addEventListener("htmx:beforeRequest", (event) => { if (event.detail.elt.matches("[data-live]")) inFlight += 1; });

  document.addEventListener("htmx:afterRequest", (event) => {
    const region = event.detail.elt, answer = event.detail.xhr;
    if (!region.matches("[data-live]")) return;
    inFlight -= 1;
    const pulse = document.getElementById("pulse");
    if (!event.detail.successful) {
      pause = Math.min(Math.max(pause, QUIET_FIRST) * 2, LOST_LAST);
      if (pulse) { pulse.classList.add("lost"); pulse.querySelector(".word").textContent = "No answer from the server, trying again"; }
      return;
    }
    const seen = answer.getResponseHeader("Crowbar-Seen"), pace = answer.getResponseHeader("Crowbar-Pace");
    if (seen) region.dataset.seen = seen;
    if (pulse && pulse.classList.contains("lost")) { region.dataset.seen = ""; pulse.classList.remove("lost"); }
    if (pace === "working") pause = WORKING;
    else if (pace === "ended" && region.dataset.live === "log") { location.reload(); return; }
    else pause = answer.status === 204 ? Math.min(Math.max(pause * 1.5, QUIET_FIRST), QUIET_LAST) : QUIET_FIRST;
    if (inFlight === 0) schedule(pause);
  });

  // What the reader has opened, and where they are, survives the exchange of a region.
  let opened = [], focused = "";
  document.addEventListener("htmx:beforeSwap", (event) => {
    opened = Array.from(event.detail.target.querySelectorAll("details[open][id]"), (one) => one.id);
    focused = document.activeElement ? document.activeElement.id : "";
    const log = event.detail.target.closest(".log");
    if (log) log.dataset.follow = log.scrollHeight - log.scrollTop - log.clientHeight < 40 ? "yes" : "";
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    for (const id of opened) { const one = document.getElementById(id); if (one) one.open = true; }
    if (focused && (!document.activeElement || document.activeElement === document.body)) {
      const one = document.getElementById(focused);
      if (one) one.focus({ preventScroll: true });
    }
    const log = event.detail.target.closest(".log");
    if (log && log.dataset.follow) log.scrollTop = log.scrollHeight;
    dress(document);
  });

  // ---------------------------------------------------------------- times

  const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

  function spoken(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    const at = UNITS.findIndex(([, size]) => whole >= size);
    if (at < 0) return "0 s";
    const [unit, size] = UNITS[at], next = UNITS[at + 1], first = Math.floor(whole / size);
    const rest = next ? Math.floor((whole % size) / next[1]) : 0;
    return first + " " + unit + (rest && first < 10 ? " " + rest + " " + next[0] : "");
  }

  function dress(root) {
    const now = Date.now();
    for (const one of root.querySelectorAll("time[data-as]")) {
      const moment = new Date(one.dateTime);
      if (!one.title) one.title = one.textContent.trim() + ", here " + moment.toLocaleString();
      const seconds = (now - moment.getTime()) / 1000;
      if (one.dataset.as === "age") one.textContent = seconds < 2 ? "just now" : spoken(seconds) + " ago";
      else if (one.dataset.as === "since") one.textContent = "for " + spoken(seconds);
      else if (one.dataset.as === "until") one.textContent = seconds < 0 ? "in " + spoken(-seconds) : "now";
    }
  }

  // ---------------------------------------------------------------- drag a node onto a role; arrows walk a grid

  function send(cell, form) {
    form.elements.cell.value = cell;
    form.requestSubmit();
  }

  document.addEventListener("dragstart", (event) => {
    const source = event.target.closest("[data-node]");
    if (!source) return;
    dragged = source.dataset.node;
    event.dataTransfer.effectAllowed = "link";
    event.dataTransfer.setData("text/plain", source.dataset.name || dragged);
    document.body.classList.add("dragging");
  });
  document.addEventListener("dragend", () => {
    dragged = null;
    document.body.classList.remove("dragging");
    for (const one of document.querySelectorAll(".over")) one.classList.remove("over");
  });
  const target = (event) => dragged !== null && event.target.closest ? event.target.closest("[data-drop]") : null;
  document.addEventListener("dragover", (event) => {
    const one = target(event);
    if (!one) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "link";
    one.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => { const one = target(event); if (one && !one.contains(event.relatedTarget)) one.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    const one = target(event), form = document.getElementById("drop-form");
    if (!one || !form) return;
    event.preventDefault();
    const node = dragged;
    dragged = null;
    send(node + ":" + one.dataset.drop, form);
  });

  document.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const cell = step && event.target.closest ? event.target.closest(".grid td, .grid th") : null;
    if (!cell || event.target.matches("input, select, textarea")) return;
    const rows = Array.from(cell.closest("table").rows), row = rows.indexOf(cell.parentElement);
    for (let y = row + step[0], x = cell.cellIndex + step[1]; rows[y] && rows[y].cells[x]; y += step[0], x += step[1]) {
      const next = rows[y].cells[x].querySelector("a, button");
      if (next) { event.preventDefault(); next.focus(); return; }
    }
  });

  // A form is sent once, however often its button is pressed.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sent) { event.preventDefault(); return; }
    if (form.method === "post") { form.dataset.sent = "yes"; setTimeout(() => { delete form.dataset.sent; }, 5000); }
  });

  document.addEventListener("DOMContentLoaded", () => {
    dress(document);
    setInterval(() => { if (!document.hidden) dress(document); }, 1000);
    const log = document.querySelector(".log[data-live]");
    if (log && !location.hash) log.scrollTop = log.scrollHeight;
    if (live().length) schedule(WORKING);
  });
})();
