// The page is complete without this script. With it, the page keeps itself up
// to date, shows times in the visitor's zone, tells of single days, opens
// systems in place, and finds services.
(() => {
  "use strict";
  // Milliseconds between two looks at the server.
  const every = 5e3, slowest = 60e3;
  const regions = ["top", "main", "foot"];
  const doc = document, root = doc.documentElement;
  const $ = (id) => doc.getElementById(id);
  const all = (what, where = doc) => [...where.querySelectorAll(what)];
  const tip = $("tip"), words = JSON.parse(tip.dataset.words);
  const rich = "popover" in HTMLElement.prototype;
  const say = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");

  // A day is a whole number of device pixels, whatever the zoom.
  const fit = () => root.style.setProperty("--dp", 1 / devicePixelRatio);
  fit();
  addEventListener("resize", fit);

  // Times are the visitor's, in the page's language and the visitor's kind of
  // it: a Briton reads 13:17, not 1:17 PM.

  const lang = navigator.languages.find((l) => l.toLowerCase().split("-")[0] === root.lang) || root.lang || undefined;
  const form = (o) => new Intl.DateTimeFormat(lang, o);
  const hm = { hour: "numeric", minute: "2-digit" }, dm = { day: "numeric", month: "short" };
  const forms = {
    t: form(hm), s: form({ ...hm, second: "2-digit" }), d: form(dm), dt: form({ ...dm, ...hm }), dts: form({ ...dm, ...hm, second: "2-digit" }), wdt: form({ weekday: "short", ...dm, ...hm }),
  };
  // What was today where the server is need not be so where the visitor is.
  forms.m = { format: (at) => (forms.d.format(at) === forms.d.format(new Date(stamp())) ? forms.t : forms.dt).format(at) };
  const longDay = form({ weekday: "long", day: "numeric", month: "long", timeZone: "UTC" });
  const zone = form({ timeZoneName: "short" }).formatToParts(new Date($("when").querySelector("time").dateTime)).find((p) => p.type === "timeZoneName").value;

  function length(seconds) {
    const m = Math.floor(seconds / 60), h = Math.floor(m / 60), d = Math.floor(h / 24);
    const two = (a, n, b, k) => say(words[a], { n }) + (k ? " " + say(words[b], { n: k }) : "");
    if (d) return two("days_short", d, "hours_short", h % 24);
    if (h) return two("hours_short", h, "minutes", m % 60);
    return say(m ? words.minutes : words.seconds, { n: m || Math.round(seconds) });
  }

  // The days of a node are one tab stop, and so is a chart, which says in
  // advance what it tells of each step; arrow keys, pointer and finger choose one.

  const rails = new WeakMap();
  const railOf = (e) => e.target.closest?.(".days, .chart");
  const rtl = root.dir === "rtl";

  // dayStart returns when a day began where the server is.
  function dayStart(i) {
    const at = Date.parse(root.dataset.from) + i * 864e5;
    let off = 0;
    for (const [, from, minutes] of (root.dataset.shift || "").matchAll(/(\d+):(-?\d+)/g)) {
      if (i >= +from) off = minutes * 6e4;
    }
    return at + off;
  }

  function day(rail, i) {
    const date = new Date(root.dataset.day + "T12:00Z");
    date.setUTCDate(date.getUTCDate() + i);
    const mark = rail.querySelector(`use[x="${i}"]`), lines = [];
    const parts = (mark?.dataset.t || "").split(" ").filter(Boolean), outages = [];
    let down = 0;
    for (const p of parts) {
      const o = /^(<?)(\d+)\+(\d+)(s?)(>?)$/.exec(p);
      if (!o) continue;
      const from = dayStart(i) + o[2] * 6e4, long = o[3] * (o[4] ? 1 : 60);
      down += long;
      const line = say(words.from_to, { from: forms.t.format(from), to: forms.t.format(from + long * 1e3) });
      outages.push([line, o[1] && words.went_on, o[5] && words.goes_on].filter(Boolean).join(", "));
    }
    for (const p of parts) if (p[0] === "d") down = p.slice(1) * 60;
    if (down || outages.length) lines.push(say(words.day_down, { length: length(down) }), ...outages);
    for (const p of parts) {
      if (p[0] === "s") lines.push(say(words.day_degraded, { length: length(p.slice(1) * 60) }));
      if (p[0] === "m") lines.push(say(words.day_maintenance, { length: length(p.slice(1) * 60) }));
    }
    if (!lines.length) lines.push(known(rail, i) ? words.no_downtime : words.no_data);
    return [longDay.format(date), lines];
  }

  // known reports whether a day is drawn as one that is known.
  function known(rail, i) {
    const runs = [...(rail.querySelector(".pu")?.getAttribute("d") || "").matchAll(/M(\d+) \d+h(\d+)/g)];
    return !runs.some(([, x, n]) => i >= +x && i < +x + +n);
  }

  function value(rail) {
    const { at } = rails.get(rail), { t } = rail.dataset, [head, lines] = t ? JSON.parse(t)[at] : day(rail, at);
    rail.setAttribute("aria-valuenow", at + 1);
    rail.setAttribute("aria-valuetext", head + ": " + lines.join(", "));
    return [head, lines];
  }

  function choose(rail, i) {
    const r = rails.get(rail), box = rail.getBoundingClientRect();
    r.at = Math.max(0, Math.min(r.n - 1, i));
    unmark();
    const mark = doc.createElementNS("http://www.w3.org/2000/svg", "path");
    mark.setAttribute("class", "at");
    mark.setAttribute("d", rail.matches(".days") ? `M${r.at} -3h.8v2h-.8zM${r.at} 25h.8v2h-.8z` : `M${r.at + 0.4} 0h.2v100h-.2z`);
    rail.append(mark);
    const part = (r.at + 0.5) / r.n;
    show(rail, box.left + box.width * (rtl ? 1 - part : part), ...value(rail));
  }

  function point(rail, e) {
    const box = rail.getBoundingClientRect(), part = (e.clientX - box.left) / box.width;
    choose(rail, Math.floor((rtl ? 1 - part : part) * rails.get(rail).n));
  }

  function prepare(where) {
    for (const t of all("time[data-f]", where)) {
      t.title = t.textContent;
      t.textContent = forms[t.dataset.f].format(new Date(t.dateTime));
    }
    const here = where.querySelector("#zone");
    if (here) here.textContent = say(words.times_here, { zone });
    const only = where.querySelector("#only");
    if (only && only !== $("only")) only.checked = $("only")?.checked;
    for (const s of all(".rs li[title]", where)) {
      s.dataset.tip = s.title;
      s.removeAttribute("title");
    }
    for (const a of all(".label a", where)) {
      a.setAttribute("role", "button");
      a.setAttribute("aria-expanded", !!a.closest(".open"));
    }
    for (const r of all(".days", where)) {
      if (r.getAttribute("role") === "slider") continue;
      const name = r.closest(".node")?.querySelector(".label a")?.textContent;
      r.setAttribute("role", "slider");
      r.setAttribute("tabindex", 0);
      r.setAttribute("aria-label", (name ? name + ": " : "") + r.getAttribute("aria-label"));
    }
  }

  // wire gives what is on the screen what only the screen has.
  function wire(where) {
    for (const r of all(".days, .chart", where)) {
      const n = r.viewBox.baseVal.width;
      if (!rails.has(r)) rails.set(r, { n, at: n - 1 });
      r.setAttribute("aria-valuemin", 1);
      r.setAttribute("aria-valuemax", n);
      value(r);
    }
  }

  // One popover for all details.

  let shown = null;

  function show(on, x, head, lines) {
    if (!rich) return;
    shown = on;
    const line = (tag, text) => Object.assign(doc.createElement(tag), { textContent: text });
    tip.replaceChildren(line("b", head), ...lines.map((l) => line("span", l)));
    if (!tip.matches(":popover-open")) tip.showPopover();
    const a = on.getBoundingClientRect(), t = tip.getBoundingClientRect(), above = a.top - t.height - 8;
    tip.style.left = Math.max(8, Math.min(x - t.width / 2, root.clientWidth - t.width - 8)) + "px";
    tip.style.top = Math.max(8, above > 4 ? above : Math.min(a.bottom + 8, innerHeight - t.height - 8)) + "px";
  }

  function unmark() {
    for (const m of all(".at")) m.remove();
  }

  function hide() {
    if (!shown) return;
    shown = null;
    tip.hidePopover();
    unmark();
  }

  function square(s) {
    const [head, ...lines] = s.dataset.tip.split("\n"), box = s.getBoundingClientRect();
    unmark();
    show(s, box.left + box.width / 2, head, lines);
  }

  doc.addEventListener("pointermove", (e) => {
    const r = railOf(e), s = e.target.closest?.("[data-tip]");
    if (r) point(r, e);
    else if (s) square(s);
    else if (shown && e.pointerType === "mouse" && !shown.matches(":focus-visible")) hide();
  });
  doc.addEventListener("focusin", (e) => {
    const r = railOf(e);
    if (r && r.matches(":focus-visible")) choose(r, rails.get(r).at);
    else hide();
  });
  doc.addEventListener("focusout", hide);
  addEventListener("scroll", () => shown?.matches(":focus-visible") ? choose(shown, rails.get(shown).at) : hide(), { passive: true });

  doc.addEventListener("keydown", (e) => {
    const r = railOf(e), a = e.target.closest?.(".label a"), q = $("q");
    if (e.key === "Escape") hide();
    else if (a && e.key === " ") {
      e.preventDefault();
      a.click();
    } else if (r) {
      const { at, n } = rails.get(r), on = rtl ? -1 : 1;
      const to = { ArrowRight: at + on, ArrowLeft: at - on, ArrowUp: at + 1, ArrowDown: at - 1, PageUp: at + 7, PageDown: at - 7, Home: 0, End: n - 1 }[e.key];
      if (to === undefined) return;
      e.preventDefault();
      choose(r, to);
    } else if (e.key === "/" && q && !/^(INPUT|TEXTAREA|SELECT)$/.test(e.target.nodeName) && !e.ctrlKey && !e.metaKey && !e.altKey) {
      e.preventDefault();
      q.focus();
    }
  });

  // A system opens in place. What it needs is fetched then; when that fails,
  // its link is followed.

  // By the row's id: what was added to it.
  const opened = new Map();

  async function fetchMore(a) {
    const res = await fetch(a.href, { cache: "no-cache", signal: AbortSignal.timeout(15e3) });
    if (!res.ok) throw new Error(res.status);
    const more = new DOMParser().parseFromString(await res.text(), "text/html").querySelector(".more");
    more.removeAttribute("id");
    // Its addresses are relative to its page.
    more.dataset.base = res.url;
    for (const link of all("a", more)) link.href = new URL(link.getAttribute("href"), res.url);
    prepare(more);
    return doc.adoptNode(more);
  }

  // chart draws the latency, with a script that is loaded when it is needed.
  async function chart(more) {
    for (const figure of all(".lat", more)) {
      const whole = (name) => new URL(figure.dataset[name], more.dataset.base ?? doc.baseURI);
      const { draw } = await import(whole("script"));
      await draw(figure, whole, { lang, forms, say });
      for (const d of all("details", figure)) folds.set(d, d.open);
    }
    wire(more);
  }

  function setOpen(node, on) {
    node.classList.toggle("open", on);
    node.querySelector(".label a").setAttribute("aria-expanded", on);
    const more = node.querySelector(".more");
    if (more) more.hidden = !on;
  }

  async function toggle(node, a) {
    let more = node.querySelector(".more");
    const fresh = !more;
    if (fresh) {
      try {
        more = await fetchMore(a);
      } catch {
        location.href = a.href;
        return;
      }
      node.append(more);
      more.hidden = true;
      for (const d of all("details", more)) folds.set(d, d.open);
    }
    setOpen(node, more.hidden);
    if (more.hidden) opened.delete(node.id);
    else opened.set(node.id, more);
    if (fresh) chart(more).catch(() => {});
  }

  doc.addEventListener("click", (e) => {
    const r = railOf(e), s = e.target.closest("[data-tip]"), a = e.target.closest(".label a"), copy = e.target.closest("[data-copy]");
    if (r) return point(r, e);
    if (s) return square(s);
    hide();
    if (copy) {
      const was = copy.textContent;
      navigator.clipboard?.writeText(copy.parentNode.querySelector("code").textContent).then(() => {
        copy.textContent = words.copied;
        setTimeout(() => (copy.textContent = was), 2e3);
      }, () => {});
    }
    if (a && a.closest("#services, #lists") && !e.ctrlKey && !e.metaKey && !e.shiftKey && !e.altKey) {
      e.preventDefault();
      toggle(a.closest(".node"), a);
    }
    const to = e.target.closest("a[href^='#']"), fold = to && aim(to.hash)?.closest("details");
    // What a link leads to is shown.
    if (fold) fold.open = true;
  });

  // aim returns what a fragment leads to.
  function aim(hash) {
    try {
      return $(hash.slice(1)) ?? $(decodeURIComponent(hash.slice(1)));
    } catch {
      // It is not well encoded.
    }
  }

  // Many services: search, and open all.

  // Services that the search opened.
  const byFind = new Set();
  const plain = (s) => s.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  // Of labels, as they are compared.
  const texts = new WeakMap();
  const textOf = (el) => {
    const was = texts.get(el), text = el.textContent;
    if (was?.text === text) return was.plain;
    texts.set(el, { text, plain: plain(text) });
    return texts.get(el).plain;
  };

  function find() {
    const q = $("q");
    if (!q) return;
    const want = plain(q.value.trim()), services = all(".service"), within = [];
    let n = 0;
    for (const s of services) {
      const whole = textOf(s.querySelector("h2")).includes(want);
      let some = whole;
      for (const node of all(".node", s)) {
        const hit = whole || textOf(node.querySelector(".label")).includes(want);
        node.hidden = !hit;
        some ||= hit;
      }
      s.hidden = !some;
      n += some;
      if (some && !whole) within.push(s);
    }
    for (const s of byFind) s.open = false;
    byFind.clear();
    // Few enough to show what was found in them.
    if (within.length < 7) {
      for (const s of within) {
        if (s.open !== false) continue;
        s.open = true;
        byFind.add(s);
      }
    }
    $("lists").classList.toggle("one", !!want);
    for (const l of all(".list, #services")) l.hidden = !l.querySelector(".service:not([hidden])");
    $("over").hidden = !!want;
    const forms = words.found, count = n.toLocaleString(lang);
    $("found").textContent = want ? say(forms[new Intl.PluralRules(root.lang).select(n)] ?? forms.other, { n: count, all: services.length }) : "";
  }

  doc.addEventListener("input", (e) => e.target.id === "q" && find());
  doc.addEventListener("keydown", (e) => {
    if (e.key !== "Escape" || e.target.id !== "q") return;
    e.target.value = "";
    find();
  });
  doc.addEventListener("click", (e) => {
    const b = e.target.closest("#all");
    if (!b) return;
    const on = b.getAttribute("aria-pressed") !== "true";
    for (const d of all("details.service")) d.open = on;
    b.setAttribute("aria-pressed", on);
    b.textContent = on ? words.close_all : words.open_all;
  });

  // A newer version of the page is worked into the one on the screen, so that
  // focus, scroll position, folds and opened systems stay as the visitor has
  // them.

  const mine = new Set(["open", "hidden", "aria-expanded", "aria-valuenow", "aria-valuetext", "aria-valuemin", "aria-valuemax", "aria-pressed"]);
  // What the server last said of a fold.
  const folds = new WeakMap();
  const like = (a, b) => a && a.nodeName === b.nodeName && (a.id || "") === (b.id || "");
  const added = (n) => n.nodeType === 1 && n.matches(".more, .at");

  function merge(a, b) {
    if (a.nodeType !== 1) {
      if (a.data !== b.data) a.data = b.data;
      return;
    }
    // These are the visitor's.
    if (a.id === "all" || a.id === "found" || a.id === "q") return;
    const open = a.classList.contains("open");
    for (const { name, value } of b.attributes) if (!mine.has(name) && a.getAttribute(name) !== value) a.setAttribute(name, value);
    for (const { name } of [...a.attributes]) if (!mine.has(name) && !b.hasAttribute(name)) a.removeAttribute(name);
    if (a.matches(".node")) a.classList.toggle("open", open);
    if (a.nodeName === "DETAILS") {
      if (folds.has(a) && folds.get(a) !== b.open) a.open = b.open;
      folds.set(a, b.open);
    }
    const kept = new Set();
    for (const child of b.children) if (child.id) kept.add(child.id);
    const gone = (n) => n && n.nodeType === 1 && n.id && !kept.has(n.id);
    const past = () => { while (at && added(at)) at = at.nextSibling; };
    let at = a.firstChild;
    const drop = () => { const next = at.nextSibling; at.remove(); at = next; };
    for (const want of [...b.childNodes]) {
      if (added(want)) continue;
      past();
      while (at && (gone(at) || (at.nodeType !== 1 && want.nodeType === 1))) {
        drop();
        past();
      }
      let have = at;
      if (want.id && !like(at, want)) {
        have = $(want.id);
        if (have?.parentNode !== a) have = null;
        // moveBefore keeps the focus.
        else if (a.moveBefore) a.moveBefore(have, at);
        else a.insertBefore(have, at);
      }
      if (!like(have, want)) a.insertBefore(want, at);
      else {
        merge(have, want);
        at = have.nextSibling;
      }
    }
    for (past(); at; past()) drop();
  }

  // A page of another version of the server needs the script of that version.
  // What the visitor folded is handed on to it.
  function restart() {
    // Two servers may take turns.
    if (performance.now() < 60e3) return;
    const open = {};
    for (const d of all("details[id]")) if (d.open !== folds.get(d)) open[d.id] = d.open;
    history.replaceState({ open, rows: [...opened.keys()] }, "");
    location.reload();
  }

  function swap(page) {
    const focus = doc.activeElement, row = focus?.closest?.("[id]")?.id, rail = focus?.matches?.(".days");
    prepare(page);
    for (const name of ["data-day", "data-from", "data-shift", "data-made"]) {
      const value = page.documentElement.getAttribute(name);
      if (value) root.setAttribute(name, value);
    }
    for (const id of regions) {
      const a = $(id), b = page.getElementById(id);
      if (a && b) merge(a, b);
    }
    doc.title = page.title;
    for (const d of all("details")) if (!folds.has(d)) folds.set(d, d.open);
    for (const [id, more] of opened) {
      const node = $(id);
      if (!node) opened.delete(id);
      else {
        if (!more.isConnected) node.append(more);
        setOpen(node, true);
        // It is rendered once a second.
        setTimeout(renew, 1500, node, more);
      }
    }
    wire(doc);
    if ($("q")?.value) find();
    // Its row moved to another list.
    if (row && !focus.isConnected) {
      const now = $(row)?.querySelector(rail ? ".days" : "a, summary");
      now?.focus({ preventScroll: true });
    }
    if (shown && !shown.isConnected) hide();
    else if (shown && rails.has(shown)) choose(shown, rails.get(shown).at);
  }

  // renew brings what an opened system shows up to date.
  async function renew(node, more) {
    try {
      const now = await fetchMore(node.querySelector(".label a"));
      await chart(now);
      if (!more.isConnected) return;
      merge(more, now);
      wire(more);
    } catch {
      // It stays as it was until the next time.
    }
  }

  // Looking at the server: the browser asks with the ETag it has.

  let tag = null, wait = every, timer, busy = false;

  async function look() {
    clearTimeout(timer);
    if (doc.hidden || busy) return;
    busy = true;
    const lost = $("lost");
    try {
      const res = await fetch(location.pathname + location.search, { cache: "no-cache", signal: AbortSignal.timeout(15e3) });
      if (!res.ok) throw new Error(res.status);
      const now = res.headers.get("ETag"), text = await res.text();
      if (!now || now !== tag) {
        const page = new DOMParser().parseFromString(text, "text/html");
        if (!page.getElementById("banner")) throw new Error("not the page");
        if (page.documentElement.dataset.build !== root.dataset.build) restart();
        else {
          swap(page);
          tag = now;
        }
      }
      wait = every;
      // A cache on the way keeps it while the server is away.
      late(parseInt(res.headers.get("Age")) > 60 || old(res));
    } catch {
      wait = Math.min(wait * 2, slowest);
      late(true);
    }
    busy = false;
    if (!doc.hidden) timer = setTimeout(look, wait);

    function late(is) {
      if (lost.hidden === !is) return;
      lost.hidden = !is;
      lost.textContent = is ? say(words.out_of_date, { time: forms.dt.format(new Date(stamp())) }) : "";
    }
  }

  // A copy on another server is too old when Vigil no longer makes new ones. The
  // visitor's clock may be wrong, the server's is rarely.
  function old(res) {
    const { made, late } = root.dataset;
    return made && (Date.parse(res.headers.get("Date")) || Date.now()) - Date.parse(made) > late * 1e3;
  }

  const stamp = () => $("when").querySelector("time").dateTime;

  const kept = history.state ?? {};
  for (const d of all("details")) {
    folds.set(d, d.open);
    if (d.id && d.id in (kept.open ?? {})) d.open = kept.open[d.id];
  }
  prepare(doc);
  wire(doc);
  for (const more of all(".open > .more")) {
    opened.set(more.parentNode.id, more);
    chart(more).catch(() => {});
  }
  for (const id of kept.rows ?? []) {
    const node = $(id);
    if (node && !opened.has(id)) toggle(node, node.querySelector(".label a"));
  }
  const target = aim(location.hash)?.closest("details");
  if (target) target.open = true;
  // An old page that was kept somewhere is asked for anew at once.
  timer = setTimeout(look, Date.now() - Date.parse(stamp()) < 10 * 60e3 ? wait : 1e3);
  doc.addEventListener("visibilitychange", () => (doc.hidden ? clearTimeout(timer) : look()));
  // Back in history.
  addEventListener("pageshow", (e) => e.persisted && look());
  addEventListener("online", look);
  addEventListener("offline", look);

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    for (const d of closed) d.open = true;
  });
  addEventListener("afterprint", () => {
    for (const d of closed) d.open = false;
  });
})();
