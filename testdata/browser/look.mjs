// Looks at the status page in a real browser. Usage:
//
//   node look.mjs BASE OTHER OUT
//
// BASE serves one state of the page in each folder, OTHER is the same server
// under another origin, OUT takes the screenshots. What is wrong is printed,
// one line each; the exit status is 1 if there is any.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { HtmlValidate } from "html-validate";
import * as visits from "./visits.mjs";

const [base, other, out] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const states = ["healthy", "sick", "dead", "mixed", "offline", "empty", "starting", "hostile", "wordy", "crowd", "mixedcrowd", "branded"];
const taken = "2026-11-20T14:05:12Z"; // when the samples are of
const views = {
  light: { viewport: { width: 1280, height: 900 }, colorScheme: "light" },
  dark: { viewport: { width: 1280, height: 900 }, colorScheme: "dark" },
  phone: { viewport: { width: 390, height: 844 }, colorScheme: "light", isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
  small: { viewport: { width: 320, height: 640 }, colorScheme: "dark" },
  wide: { viewport: { width: 1920, height: 1080 }, colorScheme: "light" },
  print: { viewport: { width: 718, height: 1000 }, colorScheme: "dark" }, // A4 less the margins
};
// What few visitors have, looked at in fewer states.
const rarer = {
  zoomed: { viewport: { width: 320, height: 225 }, deviceScaleFactor: 4, colorScheme: "light" }, // 1280 x 900 at 400 %
  contrast: { viewport: { width: 1280, height: 900 }, colorScheme: "dark", contrast: "more", reducedMotion: "reduce" },
  forced: { viewport: { width: 1280, height: 900 }, colorScheme: "dark", forcedColors: "active" },
};

let wrong = 0;
const check = (good, what) => {
  if (good) return;
  wrong++;
  console.log("WRONG " + what);
};

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

// open opens a page that reports what it should not do. The visitor looks at
// it two seconds after the sample was taken, or late hours later. With stopped,
// time passes only as the test says.
async function open(path, options, { quiet = false, late = 0, stopped = false } = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const now = Date.parse(taken) + 2e3 + late * 3600e3;
  if (stopped) await page.clock.install({ time: now });
  else await page.addInitScript((now) => {
    const Real = Date, skew = now - Real.now();
    window.Date = class extends Real {
      constructor(...from) { from.length ? super(...from) : super(Real.now() + skew); }
      static now() { return Real.now() + skew; }
    };
  }, now);
  page.requests = [];
  page.on("request", (r) => page.requests.push(r.url()));
  if (!quiet) {
    page.on("console", (m) => ["error", "warning"].includes(m.type()) && check(false, `${path}: console: ${m.text()}`));
    page.on("pageerror", (e) => check(false, `${path}: ${e.message}`));
  }
  await page.addInitScript(() => {
    window.shifts = 0;
    new PerformanceObserver((list) => {
      for (const e of list.getEntries()) {
        window.shifts += e.value;
        window.shifted = e.sources.map((s) => (s.node?.parentElement ?? s.node)?.outerHTML.slice(0, 200));
      }
    }).observe({ type: "layout-shift", buffered: true });
  });
  await page.goto(base + path);
  return page;
}

const tip = (page) => page.evaluate(() => {
  const t = document.getElementById("tip");
  if (!t.matches(":popover-open")) return null;
  const r = t.getBoundingClientRect();
  return { text: t.innerText, inside: r.left >= 0 && r.top >= 0 && r.right <= innerWidth && r.bottom <= innerHeight };
});

async function everyState() {
  for (const state of states) {
    const all = ["mixed", "sick", "wordy", "starting"].includes(state) ? { ...views, ...rarer } : views;
    for (const [view, options] of Object.entries(all)) {
      const page = await open(`/${state}/`, options);
      const name = `${state}/${view}`;
      if (view === "print") await page.emulateMedia({ media: "print" });
      const width = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      check(width <= 0, `${name}: ${width} px too wide`);
      const shifts = await page.evaluate(() => new Promise((done) => setTimeout(() => done(window.shifts), 100)));
      check(shifts < 0.002 || view === "print", `${name}: layout shift ${shifts}: ${await page.evaluate(() => window.shifted)}`);
      await page.screenshot({ path: `${out}/${state}-${view}.png`, fullPage: state !== "crowd" && view !== "zoomed" });
      check((await page.evaluate(() => document.getAnimations().length)) === 0, `${name}: something moves`);
      if (view === "zoomed" || view === "wide") { // the same as others to axe
        await page.context().close();
        continue;
      }
      if (state.endsWith("crowd") || view === "light") await page.evaluate(() => document.querySelectorAll("details").forEach((d, i) => { d.open = i < 5; }));
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
      for (const v of violations) check(false, `${name}: ${v.id}: ${v.help}: ${v.nodes[0].html.slice(0, 120)} ${v.nodes[0].failureSummary.slice(0, 200)}`);
      await page.context().close();
    }
  }
}

// The widget and the page for wrong addresses are looked at as the page is.
async function asides() {
  for (const path of ["/mixed/embed", "/healthy/nothing", "/wordy/embed"]) {
    for (const view of ["light", "dark", "small"]) {
      const page = await open(path, { ...views[view], extraHTTPHeaders: { Accept: "text/html" } }, { quiet: true });
      await page.screenshot({ path: `${out}/${path.slice(1).replace("/", "-")}-${view}.png` });
      await page.evaluate(axe);
      const rules = { "page-has-heading-one": { enabled: !path.endsWith("embed") } }; // one line in somebody else's page
      const { violations } = await page.evaluate((rules) => axe.run(document, { resultTypes: ["violations"], rules }), rules);
      for (const v of violations) check(false, `${path}/${view}: ${v.id}: ${v.help}: ${v.nodes[0].html.slice(0, 120)}`);
      await page.context().close();
    }
  }
}

async function validate() {
  const rules = new HtmlValidate({ extends: ["html-validate:standard"], rules: { "no-trailing-whitespace": "off", "long-title": "off" } });
  for (const path of states.flatMap((s) => [`/${s}/`, `/${s}/embed`, `/${s}/nothing`])) {
    const text = await (await fetch(base + path, { headers: { Accept: "text/html" } })).text();
    const report = await rules.validateString(text);
    for (const r of report.results) for (const m of r.messages) check(false, `${path}: html: ${m.line}:${m.column} ${m.ruleId}: ${m.message}`);
  }
}

async function budget() {
  for (const state of ["crowd", "mixedcrowd"]) await firstView(state);
}

async function firstView(state) {
  const page = await open(`/${state}/`, views.phone);
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Network.enable");
  await cdp.send("Network.setCacheDisabled", { cacheDisabled: true });
  let bytes = 0;
  const seen = new Set();
  cdp.on("Network.responseReceived", (e) => e.response.url.startsWith("data:") || seen.add(e.response.url));
  cdp.on("Network.loadingFinished", (e) => { bytes += e.encodedDataLength; });
  await page.reload({ waitUntil: "networkidle" });
  check(bytes > 0 && bytes <= 40 * 1024, `first view: ${bytes} bytes`);
  check(seen.size <= 4, `first view: ${seen.size} requests: ${[...seen].join(" ")}`);
  for (const url of page.requests) check(url.startsWith(base) || url.startsWith("data:"), `another host: ${url}`);
  console.log(`first view of 100 services, ${state}: ${bytes} bytes, ${seen.size} requests`);
  await page.context().close();
}

async function details() {
  for (const [view, at] of [["light", 1280], ["small", 320]]) {
    const page = await open("/mixed/", views[view]);
    for (const square of [".r.dead", ".r.sick", ".rs li:last-child .r", ".bar"]) {
      const on = page.locator(square).first();
      await on.scrollIntoViewIfNeeded();
      await page.waitForTimeout(50);
      await on.hover();
      const t = await tip(page);
      check(t && t.inside, `hover on ${square} at ${at}: ${JSON.stringify(t)}`);
      if (square === ".r.dead") {
        check(/Replica 3: dead/.test(t?.text) && /Mode\s*poll/.test(t?.text) && /Latency\s*10000 ms/.test(t?.text) && /Since/.test(t?.text), `details: ${t?.text}`);
        await page.screenshot({ path: `${out}/details-${view}.png` });
        await page.hover("#tip");
        await page.waitForTimeout(300);
        check(await tip(page), "details go when the pointer moves onto them");
      }
    }
    await page.keyboard.press("Escape");
    check(!(await tip(page)), "Escape does not close the details");
    await page.context().close();
  }
  const phone = await open("/mixed/", views.phone);
  await phone.locator(".r.sick").first().tap();
  const t = await tip(phone);
  check(t && t.inside && /Replica 2: sick/.test(t.text), `tap: ${JSON.stringify(t)}`);
  await phone.locator("h1").tap();
  check(!(await tip(phone)), "a tap elsewhere does not close the details");
  await phone.context().close();
}

async function keyboard() {
  const page = await open("/mixed/", views.light);
  const where = () => page.evaluate(() => {
    const a = document.activeElement;
    const ring = getComputedStyle(a);
    return { name: a.ariaLabel || a.textContent.trim().slice(0, 40), tag: a.tagName, cls: a.className, ring: ring.outlineStyle !== "none" && parseFloat(ring.outlineWidth) >= 2 };
  });
  const walk = [];
  for (let i = 0; i < 40; i++) {
    await page.keyboard.press("Tab");
    const at = await where();
    if (at.tag === "BODY") break;
    check(at.ring, `no focus ring on ${at.tag} ${at.name}`);
    walk.push(at);
  }
  const names = walk.map((w) => w.name).join(" > ");
  check(/^Skip to .* > Website > Get support > Website > Workers > tell our support > Website/.test(names.replace(/\s+/g, " ")), `tab order: ${names}`);
  const squares = walk.filter((w) => /\br\b/.test(w.cls));
  check(squares.length === 5, `${squares.length} squares in the tab order, want one for each of 5 nodes`);
  await page.locator(".rs button").first().focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("End");
  const end = await where();
  check(/^Replica 3: dead, Mode: poll/.test(end.name), `End goes to ${end.name}`);
  const t = await tip(page);
  check(t && /Replica 3: dead/.test(t.text), `focus shows ${JSON.stringify(t)}`);
  await page.keyboard.press("Escape");
  check(!(await tip(page)), "Escape does not close what focus opened");
  await page.keyboard.press("Enter");
  check(await tip(page), "Enter on a square does not show its details");
  await page.locator("summary").first().focus();
  await page.keyboard.press("Enter");
  const folded = () => page.locator("details").first().evaluate((d) => !d.open);
  check(await folded(), "Enter does not fold a service");
  await page.locator(".hit a").first().focus();
  await page.keyboard.press("Enter");
  check(!(await folded()), "a link to a folded service does not open it");
  await page.context().close();
}

async function noScript() {
  const page = await open("/mixed/", { ...views.light, javaScriptEnabled: false });
  check((await page.locator("noscript meta[http-equiv=refresh]").count()) === 1, "no refresh without scripts");
  const title = await page.locator(".r.dead").first().getAttribute("title");
  check(/^Replica 3: dead\nMode: poll\nLatency: 10000 ms\nSince: 19 Nov 2026, 12:05 UTC$/.test(title), `details without scripts: ${title}`);
  await page.locator("summary").first().click();
  check((await page.locator("details[open]").count()) === 2, "a service does not fold without scripts");
  await page.screenshot({ path: `${out}/noscript.png`, fullPage: true });
  await page.context().close();
}

// Whatever square or bar is focused, its details can be seen as a whole.
async function edges() {
  for (const [state, view] of [["wordy", "phone"], ["wordy", "small"], ["wordy", "zoomed"], ["mixed", "zoomed"], ["wordy", "light"]]) {
    const page = await open(`/${state}/`, views[view] ?? rarer[view]);
    await page.keyboard.press("Tab");
    const cut = await page.evaluate(async () => {
      const cut = [], t = document.getElementById("tip");
      for (const b of document.querySelectorAll("[data-tip]")) {
        b.focus();
        await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        const r = t.getBoundingClientRect();
        const whole = t.scrollWidth <= t.clientWidth && (t.scrollHeight <= t.clientHeight || getComputedStyle(t).overflowY === "auto");
        if (!t.matches(":popover-open") || r.left < 0 || r.top < 0 || r.right > innerWidth || r.bottom > innerHeight || !whole) {
          cut.push(`${b.ariaLabel.slice(0, 40)}: ${JSON.stringify(r)}`);
        }
      }
      return cut;
    });
    check(cut.length === 0, `details cut off, ${state}/${view}: ${cut.length}: ${cut[0]}`);
    await page.screenshot({ path: `${out}/edge-${state}-${view}.png` });
    await page.context().close();
  }
}

// Whatever colour is configured, what is written in it and on it can be read.
async function brands() {
  const all = await (await fetch(`${base}/brands`)).json();
  check(all.length > 20, `${all.length} colours`);
  for (const view of ["light", "dark"]) {
    const page = await open("/healthy/", views[view]);
    for (const brand of all) {
      await page.goto(`${base}/${brand}/`);
      const found = await page.evaluate(() => {
        const parse = (text) => text.match(/[\d.]+/g).slice(0, 3).map(Number);
        const light = (c) => c.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const ratio = (a, b) => {
          const [x, y] = [light(parse(a)), light(parse(b))];
          return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
        };
        const of = (what) => getComputedStyle(document.querySelector(what));
        const card = of(".top").backgroundColor;
        return {
          "the name": [ratio(of(".name").color, card), 4.5],
          "a link": [ratio(of("#lead a").color, card), 4.5],
          "the button's text": [ratio(of(".help").color, of(".help").backgroundColor), 4.5],
          "the button's edge": [ratio(of(".help").borderTopColor, card), 3],
        };
      });
      for (const [what, [is, least]] of Object.entries(found)) check(is >= least, `${brand}/${view}: ${what} has a contrast of ${is.toFixed(2)}`);
    }
    await page.context().close();
  }
}

// What a screen reader is told, in its order.
async function spoken() {
  const page = await open("/mixed/", views.light);
  const tree = (await page.locator("body").ariaSnapshot()).split("\n").map((line) => line.trim().replace(/^- /, ""));
  let at = -1;
  for (const line of [
    'link "Skip to the state of the services":', "banner:", 'heading "Acme Status" [level=1]', "status: Some systems are down", "text: Refreshed", "main:",
    'heading "An outage affects 2 of 3 services" [level=2]', 'link "Website":', "text: for 2 d 2 h, since", 'article "Front pages are down for some":', 'region "Services":',
    'heading "Website" [level=2]', "text: 2 of 3 dead", 'heading "Front pages" [level=3]', "paragraph: dead", `'button "Replica 3: dead, Mode: poll, Latency: 10000 ms, Since: Nov 19, 2026, 1:05 PM"': 3 dead`,
    "paragraph: 98.41 % uptime, last 90 days", 'heading "Incidents of the last 14 days" [level=2]', "contentinfo:", 'link "Atom feed":',
  ]) {
    const next = tree.indexOf(line, at + 1);
    check(next > at, `a screen reader is not told ${line} after ${tree[at]}`);
    at = Math.max(at, next);
  }
  await page.context().close();
}

async function operatorsOwn() {
  const page = await open("/branded/", views.light);
  const done = await page.evaluate(() => ({ script: window.customScript, style: getComputedStyle(document.body).getPropertyValue("--custom").trim() }));
  check(done.script === "ran" && done.style === "set", `the custom HTML has no effect: ${JSON.stringify(done)}`);
  await page.context().close();
}

async function frames() {
  const page = await (await browser.newContext(views.light)).newPage();
  const shows = async (path) => {
    await page.goto(`${base}/frame?src=${encodeURIComponent(other + path)}`);
    await page.waitForTimeout(300);
    const frame = page.frames()[1];
    return frame ? frame.evaluate(() => document.body?.innerText ?? "").catch(() => "") : "";
  };
  check(/All systems are healthy/.test(await shows("/healthy/embed")), "the widget does not show in a frame");
  await page.screenshot({ path: `${out}/embed.png`, clip: { x: 0, y: 0, width: 420, height: 90 } });
  check(!/Acme/.test(await shows("/healthy/")), "the page lets itself be framed");
  await page.context().close();
}

// The page of badges ends with an image that is broken.
async function badges() {
  const page = await open("/badges", views.light);
  const images = await page.evaluate(() => Promise.all([...document.images].map(async (i) => {
    const drawn = await i.decode().then(() => true, () => false);
    return { src: i.getAttribute("src"), broken: i.id === "broken", drawn: drawn && i.complete, width: i.naturalWidth, height: i.naturalHeight };
  })));
  check(images.length > 50, `${images.length} badges`);
  for (const i of images) {
    const kind = i.src.split("/")[3];
    const size = { color: i.width === 10 && i.height === 10, icon: i.width === 24 && i.height === 24, uptime: i.width > 20 && i.height === 20 }[kind];
    check(i.broken ? !i.drawn && !i.width : i.drawn && size, `badge ${i.src}: drawn ${i.drawn}, ${i.width} x ${i.height}`);
  }
  console.log(`${images.length - 1} badges`);
  await page.screenshot({ path: `${out}/badges.png` });
  await page.context().close();
}

async function paper() {
  const page = await open("/crowd/", views.dark);
  await page.emulateMedia({ media: "print", colorScheme: "light" });
  const opened = await page.evaluate(() => {
    dispatchEvent(new Event("beforeprint"));
    const open = document.querySelectorAll("details[open]").length;
    return { open, all: document.querySelectorAll("details").length, ground: getComputedStyle(document.querySelector(".service")).backgroundColor };
  });
  check(opened.open === opened.all, `${opened.open} of ${opened.all} services on paper`);
  check(opened.ground === "rgb(255, 255, 255)", `cards on paper are ${opened.ground}`);
  await page.pdf({ path: `${out}/print.pdf`, format: "A4", printBackground: false });
  await page.screenshot({ path: `${out}/print.png` });
  await page.emulateMedia({ media: "screen", forcedColors: "active" });
  await page.screenshot({ path: `${out}/forced-colors.png` });
  await page.context().close();
}

// picture takes docs/page.png.
async function picture() {
  const page = await open("/readme/", { ...views.light, viewport: { width: 1100, height: 900 } });
  await page.screenshot({ path: `${out}/readme.png`, fullPage: true });
  await page.context().close();
}

const parts = { everyState, asides, validate, budget, details, keyboard, edges, brands, spoken, ...visits, noScript, operatorsOwn, frames, badges, paper, picture };
const chosen = process.env.PARTS?.split(",") ?? Object.keys(parts);
for (const name of chosen) {
  const start = Date.now();
  await parts[name]({ base, out, open, check, views, taken }).catch((e) => check(false, `${name}: ${e.stack}`));
  console.log(`${name}: ${Date.now() - start} ms`);
}
await browser.close();
process.exit(wrong ? 1 : 0);
