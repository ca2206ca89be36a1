// The page without this script is complete. With it, the page keeps itself up
// to date, shows times in the visitor's zone, and opens details beside what
// they belong to.
(() => {
  "use strict";
  const every = 5e3, slowest = 60e3; // ms between two looks at the server
  const regions = ["top", "main", "foot"];
  const states = ["healthy", "sick", "dead", "pending"];
  const doc = document, root = doc.documentElement;
  const $ = (id) => doc.getElementById(id);
  const all = (where, what) => where.querySelectorAll(what);
  const rich = "popover" in HTMLElement.prototype;

  // Times and details, in the page as well as in each newer version of it.

  const form = (date, time) => new Intl.DateTimeFormat(undefined, { dateStyle: date, timeStyle: time });
  const short = form("medium", "short"), long = form("medium", "medium"), clock = form(undefined, "medium");
  const today = (t) => t.toDateString() === new Date().toDateString();

  function prepare(page) {
    for (const t of all(page, "time")) {
      t.title = t.textContent;
      const at = new Date(t.dateTime);
      t.textContent = (!t.dataset.f ? short : today(at) ? clock : long).format(at);
    }
    if (!rich) return;
    for (const b of all(page, "button[title]")) {
      let text = b.title;
      if (b.dataset.t) text = text.replace(/\nSince: .*/, () => "\nSince: " + short.format(new Date(b.dataset.t * 1e3)));
      b.dataset.tip = text;
      b.setAttribute("aria-label", text.replaceAll("\n", ", "));
      b.removeAttribute("title");
    }
  }

  // Of a node's squares one is in the tab order; arrow keys reach the others.
  function rove() {
    for (const list of all(doc, ".rs")) {
      const squares = [...all(list, "button")];
      const chosen = squares.find((b) => b.getAttribute("tabindex") === "0") || squares[0];
      for (const b of squares) b.tabIndex = b === chosen ? 0 : -1;
    }
  }

  doc.addEventListener("keydown", (e) => {
    if (e.key === "Escape") return hide();
    const list = e.target.closest?.(".rs");
    if (!list) return;
    const squares = [...all(list, "button")], i = squares.indexOf(e.target), last = squares.length - 1;
    const to = { ArrowRight: i + 1, ArrowDown: i + 1, ArrowLeft: i - 1, ArrowUp: i - 1, Home: 0, End: last }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    const next = squares[Math.max(0, Math.min(last, to))];
    e.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });

  // Details: one popover for all.

  const tip = $("tip");
  let shown = null; // the element whose details are open

  function show(on) {
    if (!rich || !on.dataset.tip) return;
    shown = on;
    const lines = on.dataset.tip.split("\n"), list = doc.createElement("dl"), head = doc.createElement("b");
    head.textContent = lines[0];
    for (const line of lines.slice(1)) {
      const cut = line.indexOf(": ");
      for (const [tag, text] of [["dt", line.slice(0, cut)], ["dd", line.slice(cut + 2)]]) {
        const el = doc.createElement(tag);
        el.textContent = text;
        list.append(el);
      }
    }
    tip.replaceChildren(head, ...(lines.length > 1 ? [list] : []));
    if (!tip.matches(":popover-open")) tip.showPopover();
    const a = on.getBoundingClientRect(), t = tip.getBoundingClientRect(), gap = 8;
    const left = Math.max(gap, Math.min(a.left + a.width / 2 - t.width / 2, root.clientWidth - t.width - gap));
    const above = a.top - t.height - gap;
    tip.style.left = left + "px";
    tip.style.top = Math.max(gap, above >= gap ? above : Math.min(a.bottom + gap, innerHeight - t.height - gap)) + "px";
  }

  function hide() {
    if (!shown) return;
    shown = null;
    tip.hidePopover();
    tip.replaceChildren();
  }

  const holder = (e) => e.target.closest?.("[data-tip]");
  let leaving;
  doc.addEventListener("pointerover", (e) => {
    if (e.pointerType !== "mouse") return;
    clearTimeout(leaving);
    const on = holder(e);
    if (on) show(on);
    else if (shown && !shown.matches(":focus-visible") && !tip.contains(e.target)) leaving = setTimeout(hide, 150); // time to reach it
  });
  doc.addEventListener("click", (e) => {
    const on = holder(e), to = e.target.closest?.("a[href^='#']");
    if (on) show(on);
    else if (!tip.contains(e.target)) hide();
    const fold = to && $(to.hash.slice(1));
    if (fold?.nodeName === "DETAILS") fold.open = true; // what a link leads to
  });
  doc.addEventListener("focusin", (e) => {
    const on = holder(e);
    if (on && on.matches(":focus-visible")) show(on);
    else hide();
  });
  doc.addEventListener("focusout", hide);
  addEventListener("scroll", (e) => {
    if (e.target === tip) return;
    const on = doc.activeElement;
    if (shown && on.dataset.tip && on.matches(":focus-visible")) show(on); // focus itself may have scrolled
    else hide();
  }, { passive: true, capture: true });
  addEventListener("resize", hide);

  // A newer version of the page is worked into the one on the screen, so that
  // focus, scroll position and folds stay as the visitor has them.

  const mine = new Set(["open", "tabindex"]); // attributes that belong to the visitor
  const folds = new WeakMap(); // what the server last said of a fold
  const like = (a, b) => a && a.nodeName === b.nodeName && (a.id || "") === (b.id || "");

  function merge(a, b) {
    if (a.nodeType !== 1) {
      if (a.data !== b.data) a.data = b.data;
      return;
    }
    for (const { name, value } of b.attributes) if (!mine.has(name) && a.getAttribute(name) !== value) a.setAttribute(name, value);
    for (const { name } of [...a.attributes]) if (!mine.has(name) && !b.hasAttribute(name)) a.removeAttribute(name);
    if (a.nodeName === "DETAILS") {
      if (folds.has(a) && folds.get(a) !== b.open) a.open = b.open;
      folds.set(a, b.open);
    }
    const kept = new Set();
    for (const child of b.children) if (child.id) kept.add(child.id);
    const gone = (n) => n && n.nodeType === 1 && n.id && !kept.has(n.id);
    let at = a.firstChild;
    const drop = () => { const next = at.nextSibling; at.remove(); at = next; };
    for (const want of [...b.childNodes]) {
      while (at && (gone(at) || (at.nodeType !== 1 && want.nodeType === 1))) drop();
      let have = at;
      if (want.id && !like(at, want)) {
        have = $(want.id);
        if (have?.parentNode !== a) have = null;
        else if (a.moveBefore) a.moveBefore(have, at); // which keeps the focus
        else a.insertBefore(have, at);
      }
      if (!like(have, want)) a.insertBefore(want, at);
      else {
        merge(have, want);
        at = have.nextSibling;
      }
    }
    while (at) drop();
  }

  // A page of another version of the server needs the script of that version.
  // What the visitor folded is handed on to it.
  function restart() {
    if (performance.now() < 60e3) return; // two servers may take turns
    const open = {};
    for (const d of all(doc, "details")) if (d.open !== folds.get(d)) open[d.id] = d.open;
    history.replaceState({ open }, "");
    location.reload();
  }

  function swap(page) {
    prepare(page);
    for (const id of regions) {
      const a = $(id), b = page.getElementById(id);
      if (a && b) merge(a, b);
    }
    doc.title = page.title;
    doc.body.classList.remove(...states);
    doc.body.classList.add(...page.body.classList);
    rove();
    if (shown && !shown.isConnected) hide();
    else if (shown) show(shown);
  }

  // Looking at the server: the browser asks with the ETag it has.

  let tag = null, wait = every, timer, busy = false, fresh = performance.now(), behind, sure;

  function took(stamp) { // ms by which the data was behind when it came
    return Math.max(0, stamp - Date.parse(all($("when"), "time")[0].dateTime));
  }

  function length(s) {
    if (s < 60) return s + " s";
    if (s < 3600) return Math.floor(s / 60) + " min";
    return s < 86400 ? Math.floor(s / 3600) + " h" : Math.floor(s / 86400) + " d";
  }

  function age() {
    if (!sure) return;
    const s = Math.round((behind + performance.now() - fresh) / 1e3);
    const el = $("age");
    el.textContent = " (" + length(s) + " ago)";
    el.hidden = false;
  }

  async function look() {
    clearTimeout(timer);
    if (doc.hidden || busy) return;
    busy = true;
    try {
      const res = await fetch(location.pathname + location.search, { cache: "no-cache", signal: AbortSignal.timeout(15e3) });
      if (!res.ok) throw new Error(res.status);
      const now = res.headers.get("ETag"), stamp = Date.parse(res.headers.get("Date")) || Date.now();
      const text = await res.text();
      if (!now || now !== tag) {
        const page = new DOMParser().parseFromString(text, "text/html");
        if (!page.getElementById("banner")) throw new Error("not the page");
        if (page.documentElement.dataset.build !== root.dataset.build) restart();
        else {
          swap(page);
          tag = now;
        }
      }
      fresh = performance.now();
      behind = took(stamp) + 1e3 * (parseInt(res.headers.get("Age")) || 0); // in a cache on the way
      wait = every;
      $("lost").hidden = true;
    } catch {
      wait = Math.min(wait * 2, slowest);
      const lost = $("lost");
      if (lost.hidden) {
        lost.hidden = false;
        lost.textContent = "The server of this page cannot be reached. What you see is of " + all($("when"), "time")[0].textContent + " and may be out of date.";
      }
    }
    busy = false;
    sure = true;
    age();
    if (!doc.hidden) timer = setTimeout(look, wait);
  }

  const kept = history.state?.open ?? {};
  for (const d of all(doc, "details")) {
    folds.set(d, d.open);
    if (d.id in kept) d.open = kept[d.id];
  }
  prepare(doc);
  rove();
  // How old it is by the visitor's clock. If that is much, either the clock is
  // wrong or the page was kept somewhere: the server knows.
  behind = took(Date.now());
  sure = behind < 6e5;
  age();
  setInterval(age, 1e3);
  timer = setTimeout(look, sure ? wait : 1e3);
  doc.addEventListener("visibilitychange", () => (doc.hidden ? clearTimeout(timer) : look()));
  addEventListener("pageshow", (e) => e.persisted && look()); // back in history
  addEventListener("online", look);
  addEventListener("offline", look);

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...all(doc, "details:not([open])")];
    for (const d of closed) d.open = true;
  });
  addEventListener("afterprint", () => {
    for (const d of closed) d.open = false;
  });
})();
