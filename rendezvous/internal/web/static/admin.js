// The script of the administrators' pages. It signs in with the one-time link,
// keeps an open page up to date, and shows times in the reader's language. The pages
// work without it.

const $ = (id) => document.getElementById(id);

// --- signing in -------------------------------------------------------------

// The code of the link stands after the #, so that no server logs it. The script
// removes it from the address and from the history, and sends it with the #.
function followLink() {
  const link = location.hash;
  if (!new URLSearchParams(link.slice(1)).get("link")) return false;
  history.replaceState(null, "", location.pathname + location.search);
  const form = $("sign-in-form");
  if (!form) return false; // the browser is signed in already: the link stays usable
  form.elements.secret.value = link;
  form.requestSubmit();
  return true;
}

// A browser that follows a link of another site sends no cookie at first. It may be
// signed in nevertheless.
async function reloadIfSignedIn() {
  if (document.querySelector(".note")) return;
  const answer = await fetch("/admin/session").then((r) => r.json()).catch(() => ({}));
  if (answer.signed_in) location.reload();
}

// --- a join link that was opened in a browser --------------------------------

// A link with characters that are not safe between the quotes of a shell is not shown.
function showJoinLink() {
  const box = $("join");
  if (!box || !location.hash || !/^[\w.:/#=&%~+@[\]-]+$/.test(location.href)) return;
  box.querySelector("code").textContent = `easyfind up --rendezvous '${location.href}'`;
  box.hidden = false;
}

// --- times ------------------------------------------------------------------

const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const units = [
  ["year", 31536000], ["month", 2592000], ["week", 604800], ["day", 86400], ["hour", 3600], ["minute", 60],
];

function relativeTime(then) {
  const seconds = (then - Date.now()) / 1000;
  for (const [unit, size] of units) {
    if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
  }
  return seconds > 0 ? "in less than a minute" : "just now";
}

const forms = {
  full: (then) => then.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }),
  clock: (then) => then.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" }),
  // The server counts by days of UTC, so a day has the same name in every time zone.
  date: (then) => then.toLocaleDateString(undefined, { day: "numeric", month: "short", timeZone: "UTC" }),
};

function showTime(time) {
  const then = new Date(time.dateTime);
  const text = (forms[time.dataset.form] ?? relativeTime)(then);
  if (time.textContent !== text) time.textContent = text;
  time.title = then.toLocaleString();
}

const showTimes = (within) => within.querySelectorAll("time").forEach(showTime);

// --- changing a document into another ---------------------------------------

// morph changes one document into another and keeps what a person has typed, opened
// or focused: controls keep their values, and an element that is in both documents
// stays the same element.
const controls = new Set(["INPUT", "SELECT", "TEXTAREA"]);

const same = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id || "") === (b.id || "");

function morph(from, to) {
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
    return;
  }
  if (controls.has(from.nodeName)) return;
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
      else if (from.moveBefore) from.moveBefore(known, at); // does not lose the focus
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

const status = $("live");
let source = null;
let retryTimer = 0;

function setStatus(state, text) {
  if (!status || status.dataset.state === state) return;
  status.dataset.state = state;
  status.querySelector(".text").textContent = text;
}

function listen() {
  if (source || document.hidden) return;
  clearTimeout(retryTimer);
  source = new EventSource(location.pathname + location.search);
  source.addEventListener("open", () => setStatus("on", "live"));
  source.addEventListener("page", (e) => {
    setStatus("on", "live");
    const parsed = new DOMParser().parseFromString(`<main>${e.data}</main>`, "text/html");
    morphChildren($("main"), parsed.querySelector("main"));
    showTimes($("main"));
    if (pointer) showFigure(document.elementFromPoint(pointer.x, pointer.y));
  });
  source.addEventListener("problem", (e) => setStatus("problem", e.data));
  source.addEventListener("gone", () => location.reload());
  source.addEventListener("error", () => {
    setStatus("lost", "reconnecting");
    if (source.readyState === EventSource.CLOSED) { // refused: the browser does not reconnect by itself
      stopListening();
      retryTimer = setTimeout(listen, 5000 + 5000 * Math.random());
    }
  });
}

function stopListening() {
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

let pointer = null; // the position of the pointer in the window

function point(e) {
  pointer = { x: e.clientX, y: e.clientY };
  showFigure(e.target);
}

function showFigure(target) {
  const plot = target?.closest?.(".plot");
  document.querySelectorAll(".tip, .at").forEach((old) => old.parentElement !== plot && old.remove());
  if (!plot) return;
  const figures = JSON.parse(plot.dataset.figures);
  const box = plot.querySelector("svg").getBoundingClientRect();
  const count = figures.series[0].values.length;
  const step = Math.min(count - 1, Math.max(0, Math.floor(((pointer.x - box.left) / box.width) * count)));
  const when = new Date(figures.from + step * figures.step);
  const text = figures.series.filter((one) => one.values[step] !== null)
    .map((one) => `${one.name} ${figures.bytes ? size(one.values[step]) : one.values[step].toLocaleString()}`)
    .join(", ");
  const day = figures.step >= 86400000;
  const span = day ? forms.date(when)
    : when.toLocaleString(undefined, { weekday: "short", hour: "2-digit", minute: "2-digit" });
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
if (!followLink() && $("sign-in-form")) reloadIfSignedIn();
showTimes(document);
setInterval(() => showTimes(document), 10000);

// The notice describes the last change. Without the parameter a reload does not repeat the notice.
const address = new URL(location.href);
if (address.searchParams.has("did")) {
  address.searchParams.delete("did");
  history.replaceState(null, "", address);
}
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
if (status) {
  listen();
  document.addEventListener("visibilitychange", () => (document.hidden ? stopListening() : listen()));
}
