(() => {
"use strict";
const one = (q, e = document) => e.querySelector(q), all = (q, e = document) => [...e.querySelectorAll(q)];
const form = one("#filter"), said = one("#said"), pause = one("#pause"), late = one("#late");
const letters = {stale: "s", undecided: "u", error: "e", missing: "m", unverified: "v", fresh: "f"};
const badness = "suemvfx", every = 10000, together = 25;
const touched = new Map(); // details that the reader opened or closed, by id
let sort = new URLSearchParams(location.search).get("sort") || "", timer, paused = false, verdict = one("#top").dataset.verdict;

// measure gives what rows are sorted by, the least first; null: as they came.
function measure(table) {
  const number = (name, none, sign) => r => r.dataset[name] === undefined ? none : sign * r.dataset[name];
  switch (sort) {
  case "": return null;
  case "key": return r => r.cells[0].textContent;
  case "stale": return number("s", Infinity, -1);
  case "ttl": return number("t", Infinity, 1);
  case "age": return number("a", Infinity, -1);
  }
  const at = all("thead th", table).findIndex(h => one("a", h) && one("a", h).dataset.sort === sort);
  return at < 0 ? null : r => badness.indexOf(r.cells[at].className);
}

// arrange rows in the table, some in each body, which is laid out when it comes into view.
function arrange(table, rows) {
  const now = [...table.tBodies].flatMap(b => [...b.rows]);
  if (now.length === rows.length && rows.every((r, i) => r === now[i])) return;
  const bodies = [];
  for (let i = 0; i < rows.length || i === 0; i += together) {
    const body = document.createElement("tbody");
    body.setAttribute("role", "rowgroup");
    body.append(...rows.slice(i, i + together));
    bodies.push(body);
  }
  for (const b of [...table.tBodies]) b.remove();
  table.append(...bodies);
}

// apply the filter and the order to the keys that the page has.
function apply() {
  const cls = form.elements.class.value, state = form.elements.state.value, key = form.elements.key.value.toLowerCase();
  const cells = state === "differs" ? "td.s,td.u" : state && "td." + letters[state];
  let shown = 0;
  for (const c of all(".class")) {
    c.hidden = cls !== "" && c.dataset.class !== cls;
    const table = one(".matrix table", c);
    if (!table) continue;
    const m = measure(table);
    table.keys ??= [...table.tBodies].flatMap(b => [...b.rows]);
    const rows = table.keys.filter(r => (!cells || one(cells, r)) && (!key || r.cells[0].textContent.toLowerCase().includes(key)));
    if (m) {
      const by = new Map(rows.map(r => [r, m(r)]));
      rows.sort((a, b) => by.get(a) < by.get(b) ? -1 : by.get(a) > by.get(b) ? 1 : 0);
    }
    arrange(table, rows);
    for (const h of all("thead th", table)) {
      const a = one("a", h);
      if (a) h.setAttribute("aria-sort", a.dataset.sort !== sort ? "none" : sort === "stale" || sort === "age" ? "descending" : "ascending");
    }
    if (!c.hidden) shown += rows.length;
  }
  const text = shown.toLocaleString("en") + (shown === 1 ? " key" : " keys") + " shown";
  if (said.textContent !== text) said.textContent = text;
}

// changed by the reader: show it, and write it into the address, so that it can be handed on.
function changed() {
  const q = new URLSearchParams();
  for (const name of ["class", "state", "key"]) if (form.elements[name].value) q.set(name, form.elements[name].value);
  if (sort) q.set("sort", sort);
  history.replaceState(null, "", q.size ? "?" + q : location.pathname);
  apply();
}

// swap the parts of the page for those of a newer one, and leave focus, places and what was opened as they are.
function swap(next) {
  const focus = document.activeElement && document.activeElement.id;
  const places = all(".wide,.matrix").map(e => [e.id, e.scrollLeft, e.scrollTop]);
  for (const part of ["top", "now", "classes", "rest"]) one("#" + part).replaceWith(document.adoptNode(one("#" + part, next)));
  const options = form.elements.class, chosen = options.value;
  options.replaceChildren(...all("#filter [name=class] option", next).map(o => document.adoptNode(o)));
  options.value = chosen;
  if (options.selectedIndex < 0) options.value = "";
  document.title = one("#top").dataset.title;
  for (const [id, open] of touched) { const d = document.getElementById(id); if (d) d.open = open; }
  apply();
  for (const [id, x, y] of places) { const e = document.getElementById(id); if (e) { e.scrollLeft = x; e.scrollTop = y; } }
  if (focus) { const e = document.getElementById(focus); if (e) e.focus({preventScroll: true}); }
  const now = one("#top").dataset.verdict;
  if (now !== verdict) { verdict = now; said.textContent = "Verdict: " + now; }
}

async function reload() {
  clearTimeout(timer);
  try {
    const got = await fetch(location.pathname, {cache: "no-store", signal: AbortSignal.timeout(40000)});
    if (!got.ok) throw new Error("it answers " + got.status);
    const next = new DOMParser().parseFromString(await got.text(), "text/html");
    if (!one("#rest", next)) throw new Error("its answer broke off");
    const selected = getSelection();
    if (!selected || selected.isCollapsed) swap(next);
    late.hidden = true;
  } catch (e) {
    late.hidden = false;
    late.textContent = "Not reloaded: the exporter can't be reached, or " + e.message + ". What you see is old.";
  }
  again();
}

function again() {
  clearTimeout(timer);
  if (!paused) timer = setTimeout(reload, every);
}

form.addEventListener("submit", e => { e.preventDefault(); changed(); });
form.addEventListener("input", e => { if (e.target.name === "sort") sort = e.target.value; changed(); });
document.addEventListener("click", e => {
  const a = e.target.closest("a[data-sort]"), s = e.target.closest("summary");
  if (s && s.parentElement.id) touched.set(s.parentElement.id, !s.parentElement.open);
  if (!a || e.ctrlKey || e.metaKey || e.shiftKey) return;
  e.preventDefault();
  sort = sort === a.dataset.sort ? "" : a.dataset.sort;
  form.elements.sort.value = sort;
  changed();
});
function halt(on) {
  paused = on;
  pause.textContent = on ? "Resume reloading" : "Pause reloading";
  clearTimeout(timer);
}
pause.addEventListener("click", () => { halt(!paused); if (!paused) reload(); });
document.title = one("#top").dataset.title; // it was not known yet where the sampling took long
one("#apply").hidden = true;
pause.hidden = false;
halt(!!one("#top").dataset.once);
if (/[?&](class|state|key)=./.test(location.search)) reload(); else { apply(); again(); }
})();
