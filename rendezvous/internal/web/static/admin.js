// What the administrators' page does by itself: it signs in with the one-time
// link, keeps a page up to date, and writes times in the reader's own words.
// Everything else works without it.

const $ = (id) => document.getElementById(id);

// --- signing in -------------------------------------------------------------

// The link's code is behind the #, so that it is in no server's log. It is sent
// at once and taken out of the address and the history.
function followLink() {
  const code = new URLSearchParams(location.hash.slice(1)).get("link");
  if (!code) return false;
  history.replaceState(null, "", location.pathname + location.search);
  const form = $("sign-in-form");
  if (!form) return false; // signed in already: the link stays good
  form.elements.secret.value = code;
  form.requestSubmit();
  return true;
}

// A browser that comes here by a link of another site has sent no cookie, and
// may be signed in all the same.
async function signedInAfterAll() {
  if (document.querySelector(".note")) return;
  const answer = await fetch("/admin/session").then((r) => r.json()).catch(() => ({}));
  if (answer.signed_in) location.reload();
}

// --- a join link that was opened in a browser --------------------------------

// What would not be safe between the quotes of a shell is not shown.
function showJoinLink() {
  const box = $("join");
  if (!box || !location.hash || !/^[\w.:/#=&%~+@[\]-]+$/.test(location.href)) return;
  box.querySelector("code").textContent = `easyfind up --rendezvous '${location.href}'`;
  box.hidden = false;
}

// --- times ------------------------------------------------------------------

const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const units = [["year", 31536000], ["month", 2592000], ["week", 604800], ["day", 86400], ["hour", 3600], ["minute", 60]];

function words(then) {
  const seconds = (then - Date.now()) / 1000;
  for (const [unit, size] of units) {
    if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
  }
  return seconds > 0 ? "in less than a minute" : "just now";
}

const forms = {
  full: (then) => then.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }),
  clock: (then) => then.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" }),
  // The server counts by UTC's days: one has the same name everywhere.
  date: (then) => then.toLocaleDateString(undefined, { day: "numeric", month: "short", timeZone: "UTC" }),
};

function tell(time) {
  const then = new Date(time.dateTime);
  const text = (forms[time.dataset.form] ?? words)(then);
  if (time.textContent !== text) time.textContent = text;
  time.title = then.toLocaleString();
}

const tellAll = (within) => within.querySelectorAll("time").forEach(tell);

// --- changing a document into another ---------------------------------------

// What a person has typed, opened or is at stays: controls keep their values,
// and an element that is in both documents is the same one afterwards.
const typed = new Set(["INPUT", "SELECT", "TEXTAREA"]);

const same = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id || "") === (b.id || "");

function morph(from, to) {
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
    return;
  }
  if (typed.has(from.nodeName)) return;
  if (from.nodeName === "TIME" && from.dateTime === to.dateTime) return;
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && !(name === "open" && from.nodeName === "DETAILS")) from.removeAttribute(name);
  }
  for (const { name, value } of to.attributes) {
    if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  morphChildren(from, to);
}

function morphChildren(from, to) {
  const named = new Map();
  for (const child of from.children) if (child.id) named.set(child.id, child);
  let at = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    const known = wanted.id && named.get(wanted.id);
    if (known && known.nodeName === wanted.nodeName) {
      if (known === at) at = at.nextSibling;
      else if (from.moveBefore) from.moveBefore(known, at); // keeps the focus
      else from.insertBefore(known, at);
      morph(known, wanted);
    } else if (at && same(at, wanted)) {
      const next = at.nextSibling;
      morph(at, wanted);
      at = next;
    } else {
      from.insertBefore(document.importNode(wanted, true), at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

// --- keeping up to date -----------------------------------------------------

const sign = $("live");
let source = null;
let again = 0;

function say(state, text) {
  if (!sign || sign.dataset.state === state) return;
  sign.dataset.state = state;
  sign.querySelector(".text").textContent = text;
}

function listen() {
  if (source || document.hidden) return;
  clearTimeout(again);
  source = new EventSource(location.pathname + location.search);
  source.addEventListener("open", () => say("on", "live"));
  source.addEventListener("page", (e) => {
    say("on", "live");
    const parsed = new DOMParser().parseFromString(`<main>${e.data}</main>`, "text/html");
    morphChildren($("main"), parsed.querySelector("main"));
    tellAll($("main"));
    if (pointed) show(document.elementFromPoint(pointed.x, pointed.y));
  });
  source.addEventListener("problem", (e) => say("problem", e.data));
  source.addEventListener("gone", () => location.reload());
  source.addEventListener("error", () => {
    say("lost", "connecting again");
    if (source.readyState === EventSource.CLOSED) { // refused: the browser does not try by itself
      silence();
      again = setTimeout(listen, 5000 + 5000 * Math.random());
    }
  });
}

function silence() {
  source?.close();
  source = null;
}

// --- charts: the figures under the pointer -----------------------------------

const size = (n) => {
  const order = ["B", "kB", "MB", "GB", "TB", "PB"];
  let i = 0;
  for (; n >= 1000 && i < order.length - 1; i++) n /= 1000;
  return `${n.toLocaleString(undefined, { maximumFractionDigits: i && n < 100 ? 1 : 0 })} ${order[i]}`;
};

let pointed = null; // where the pointer is, in the window

function point(e) {
  pointed = { x: e.clientX, y: e.clientY };
  show(e.target);
}

function show(target) {
  const plot = target?.closest?.(".plot");
  document.querySelectorAll(".tip, .at").forEach((old) => old.parentElement !== plot && old.remove());
  if (!plot) return;
  const figures = JSON.parse(plot.dataset.figures);
  const box = plot.querySelector("svg").getBoundingClientRect();
  const count = figures.series[0].values.length;
  const step = Math.min(count - 1, Math.max(0, Math.floor(((pointed.x - box.left) / box.width) * count)));
  const when = new Date(figures.from + step * figures.step);
  const text = figures.series.filter((one) => one.values[step] !== null)
    .map((one) => `${one.name} ${figures.bytes ? size(one.values[step]) : one.values[step].toLocaleString()}`).join(", ");
  const day = figures.step >= 86400000;
  const span = day ? forms.date(when) : when.toLocaleString(undefined, { weekday: "short", hour: "2-digit", minute: "2-digit" });
  let [tip, at] = [plot.querySelector(".tip"), plot.querySelector(".at")];
  if (!tip) {
    tip = Object.assign(document.createElement("div"), { className: "tip" });
    at = Object.assign(document.createElement("div"), { className: "at" });
    plot.append(tip, at);
  }
  tip.textContent = `${span}: ${text || "no figures"}`;
  const x = ((step + 0.5) / count) * box.width;
  at.style.left = `${x}px`;
  tip.style.left = `${Math.max(0, Math.min(x - tip.offsetWidth / 2, box.width - tip.offsetWidth))}px`;
}

document.addEventListener("pointermove", point);
document.addEventListener("pointerdown", point);

// --- small conveniences -----------------------------------------------------

document.documentElement.dataset.script = "";
document.addEventListener("click", async (e) => {
  const button = e.target.closest(".copy button");
  if (!button) return;
  await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});

showJoinLink();
if (!followLink() && $("sign-in-form")) signedInAfterAll();
tellAll(document);
setInterval(() => tellAll(document), 10000);

// The notice tells of what was just done: a reload does not do it again.
const address = new URL(location.href);
if (address.searchParams.has("did")) {
  address.searchParams.delete("did");
  history.replaceState(null, "", address);
}
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
if (sign) {
  listen();
  document.addEventListener("visibilitychange", () => (document.hidden ? silence() : listen()));
}
