// Looks at the status page in a real browser. Usage:
//
//   node look.mjs BROWSER BASE OTHER OUT
//
// BASE serves one state of the page in each folder, OTHER is the same server
// under another origin, OUT takes the screenshots. What is wrong is printed,
// one line each; the exit status is 1 if there is any.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { HtmlValidate } from "html-validate";
import { start } from "./browsers.mjs";
import * as visits from "./visits.mjs";

const [name, base, other, out] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const states = ["healthy", "sick", "dead", "mixed", "told", "maintained", "offline", "empty", "starting", "hostile", "wordy", "rtl", "crowd", "mixedcrowd", "branded"];
const languages = ["de", "es", "fr", "hu", "it", "nl", "pl", "pt"];
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

// Playwright adds this style to take a screenshot in Firefox, and the page's policy forbids it as any.
const driverStyle = "sha256-" + createHash("sha256").update("body {}").digest("base64");

let wrong = 0;
const check = (good, what) => {
  if (good) return;
  wrong++;
  console.log("WRONG " + what);
};

const browser = start(name);

// each does the same for all of a list, two at a time: there may be two cores.
async function each(list, visit) {
  const left = [...list];
  const visitAll = async () => { while (left.length) await visit(left.shift()); };
  await Promise.all([visitAll(), visitAll()]);
}

// open opens a page that reports what it should not do. The visitor looks at
// it two seconds after the sample was taken, or late hours later. With stopped,
// time passes only as the test says.
async function open(path, options, { quiet = false, late = 0, stopped = false } = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const now = Date.parse(taken) + 2e3 + late * 3600e3;
  if (stopped) {
    await page.clock.install({ time: now - 600e3 }); // it runs until it is stopped
    await page.clock.pauseAt(now);
  } else await page.addInitScript((now) => {
    const Real = Date, skew = now - Real.now();
    window.Date = class extends Real {
      constructor(...from) { from.length ? super(...from) : super(Real.now() + skew); }
      static now() { return Real.now() + skew; }
    };
  }, now);
  page.requests = [];
  page.on("request", (r) => page.requests.push(r.url()));
  if (!quiet) {
    page.on("console", (m) => ["error", "warning"].includes(m.type()) && !m.text().includes(driverStyle) && check(false, `${path}: console: ${m.text()}`));
    page.on("pageerror", (e) => e.message.includes(driverStyle) || check(false, `${path}: ${e.message}`));
  }
  await page.addInitScript(() => {
    window.shifts = 0;
    if (!PerformanceObserver.supportedEntryTypes.includes("layout-shift")) return;
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

// accessible has axe look at a page.
async function accessible(page, name, rules = {}) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate((rules) => axe.run(document, { resultTypes: ["violations"], rules }), rules);
  for (const v of violations) check(false, `${name}: ${v.id}: ${v.help}: ${v.nodes[0].html.slice(0, 120)} ${v.nodes[0].failureSummary.slice(0, 200)}`);
}

const tooWide = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

async function everyState() {
  const visits = states.flatMap((state) => Object.keys(["mixed", "sick", "wordy", "starting"].includes(state) ? { ...views, ...rarer } : views).map((view) => [state, view]));
  await each(visits.filter(([, view]) => browser.chromium || ["light", "dark", "phone"].includes(view)), async ([state, view]) => {
    const page = await open(`/${state}/`, views[view] ?? rarer[view]);
    const name = `${state}/${view}`;
    if (view === "print") await page.emulateMedia({ media: "print" });
    const width = await tooWide(page);
    check(width <= 0, `${name}: ${width} px too wide`);
    const shifts = await page.evaluate(() => new Promise((done) => setTimeout(() => done(window.shifts), 100)));
    check(!shifts || view === "print", `${name}: layout shift ${shifts}: ${await page.evaluate(() => window.shifted)}`);
    await page.screenshot({ path: `${out}/${state}-${view}.png`, fullPage: state !== "crowd" && view !== "zoomed" });
    check((await page.evaluate(() => document.getAnimations().length)) === 0, `${name}: something moves`);
    if (view === "zoomed" || view === "wide") return page.context().close(); // the same as others to axe
    // Something is open: services of a crowd, and a system.
    await page.evaluate(() => document.querySelectorAll("#lists details").forEach((d, i) => { d.open = i < 3; }));
    if (await page.locator(".label a").count()) {
      await page.locator(".label a").first().click({ position: { x: 2, y: 2 } });
      await page.locator(".more").first().waitFor();
      if (await page.locator(".lat").count()) await page.locator(".plot:not([role])").or(page.locator("p.plot", { hasNotText: "Loading" })).first().waitFor();
      await page.evaluate(() => document.querySelectorAll(".more details").forEach((d) => { d.open = true; }));
      if (view === "light" || view === "phone") await page.screenshot({ path: `${out}/${state}-${view}-opened.png`, fullPage: !state.endsWith("crowd") });
    }
    if (browser.chromium) await accessible(page, name);
    await page.context().close();
  });
}

// Other pages than the first are looked at as that is, and so is every language.
async function asides() {
  const paths = ["/mixed/embed", "/healthy/nothing", "/wordy/embed/id-x", "/told/history", "/told/history#t4", "/empty/history", "/hostile/history", "/told/node/id-Website/id-Front%20pages", "/rtl/history", ...languages.flatMap((l) => [`/lang-${l}/`, `/lang-${l}/history`])];
  await each(paths.flatMap((path) => (path.startsWith("/lang") ? ["light", "small"] : ["light", "dark", "small"]).map((view) => [path, view])), async ([path, view]) => {
    const page = await open(path, { ...views[view], extraHTTPHeaders: { Accept: "text/html" } }, { quiet: true });
    const width = await tooWide(page);
    check(width <= 0, `${path}/${view}: ${width} px too wide`);
    await page.screenshot({ path: `${out}/${path.slice(1).replaceAll("/", "-")}-${view}.png`, fullPage: true });
    await accessible(page, `${path}/${view}`, { "page-has-heading-one": { enabled: !path.includes("embed") } }); // one line in somebody else's page
    await page.context().close();
  });
}

async function validate() {
  const rules = new HtmlValidate({ extends: ["html-validate:standard"], rules: { "no-trailing-whitespace": "off", "long-title": "off" } });
  for (const path of [...states.flatMap((s) => [`/${s}/`, `/${s}/embed`, `/${s}/nothing`, `/${s}/history`]), "/told/node/id-Website/id-Front%20pages", "/rtl/history", ...languages.flatMap((l) => [`/lang-${l}/`, `/lang-${l}/history`])]) {
    const text = await (await fetch(base + path, { headers: { Accept: "text/html" } })).text();
    const report = await rules.validateString(text);
    for (const r of report.results) for (const m of r.messages) check(false, `${path}: html: ${m.line}:${m.column} ${m.ruleId}: ${m.message}`);
  }
}

async function budget() {
  for (const state of ["crowd", "mixedcrowd"]) await firstView(state, 40);
  await firstView("badcrowd", 44); // each node had six bad days
}

async function firstView(state, most) {
  const page = await open(`/${state}/`, views.phone);
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Network.enable");
  await cdp.send("Network.setCacheDisabled", { cacheDisabled: true });
  let bytes = 0;
  const seen = new Set();
  cdp.on("Network.responseReceived", (e) => e.response.url.startsWith("data:") || seen.add(e.response.url));
  cdp.on("Network.loadingFinished", (e) => { bytes += e.encodedDataLength; });
  await page.reload({ waitUntil: "networkidle" });
  check(bytes > 0 && bytes <= most * 1024, `first view: ${bytes} bytes`);
  check(seen.size <= 4, `first view: ${seen.size} requests: ${[...seen].join(" ")}`);
  for (const url of page.requests) check(url.startsWith(base) || url.startsWith("data:"), `another host: ${url}`);
  console.log(`first view of 100 services, ${state}: ${bytes} bytes, ${seen.size} requests`);
  await page.context().close();
}

// Days and instances tell more to pointer, finger and keys.
async function details() {
  for (const view of ["light", "small"]) {
    const page = await open("/mixed/", views[view]);
    const row = page.locator(".node").first(), square = row.locator(".rs .down");
    await square.scrollIntoViewIfNeeded();
    await page.waitForTimeout(300);
    await square.hover();
    let t = await tip(page);
    check(t?.inside && /^Instance 3: down$/.test(t.text), `hover on an instance, ${view}: ${JSON.stringify(t)}`);
    const box = await row.locator(".days").boundingBox();
    await page.mouse.move(box.x + box.width * 89.5 / 90, box.y + 8);
    t = await tip(page);
    check(t?.inside && /^Friday, November 20\nDown for 1 h 1 min\n2:04 PM to 3:05 PM\nDegraded for 10 min$/.test(t.text.replace(/\u202f/g, " ")), `hover on today, ${view}: ${JSON.stringify(t)}`);
    await page.mouse.move(box.x + box.width * 76.5 / 90, box.y + 8);
    t = await tip(page);
    check(/^Saturday, November 7\nDown for 1 d/.test(t?.text) && /continued from the day before, continues the next day/.test(t?.text), `an outage over midnight, ${view}: ${JSON.stringify(t)}`);
    await page.screenshot({ path: `${out}/details-${view}.png` });
    await page.mouse.move(2, 2);
    check(!(await tip(page)), "details stay when the pointer has left");
    await page.context().close();
  }
  if (!browser.chromium) return; // no other has a finger here
  const phone = await open("/mixed/", views.phone);
  const box = await phone.locator(".days").first().boundingBox();
  await phone.touchscreen.tap(box.x + box.width * 89.5 / 90, box.y + 8);
  const t = await tip(phone);
  check(t?.inside && /Down for 1 h/.test(t.text), `a tap on today: ${JSON.stringify(t)}`);
  await phone.locator("h1").tap();
  check(!(await tip(phone)), "a tap elsewhere does not close the details");
  await phone.context().close();
}

async function keyboard() {
  const page = await open("/mixed/", views.light);
  const where = () => page.evaluate(() => {
    const a = document.activeElement, ring = (el, part) => { const s = getComputedStyle(el, part); return s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2; };
    return { name: (a.ariaLabel || a.textContent).trim().slice(0, 60), value: a.getAttribute("aria-valuetext"), tag: a.tagName, ring: ring(a) || ring(a, "::after"), open: a.ariaExpanded };
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
  check(/^Skip to the services > Acme Status > Subscribe > Website > Get support > Front pages > Old shop > Fleet > Tell our support > Front pages > Front pages: 90 days: down on 3 days > Edge > /.test(names), `tab order: ${names}`);
  const days = page.locator(".days").first();
  await days.focus();
  await page.keyboard.press("End");
  check(/^Friday, November 20: Down for 1 h/.test((await where()).value), `End: ${(await where()).value}`);
  for (const [key, day] of [["ArrowLeft", "Thursday, November 19"], ["PageUp", "Friday, November 20"], ["PageDown", "Friday, November 13"], ["Home", "Sunday, August 23"], ["ArrowRight", "Monday, August 24"]]) {
    await page.keyboard.press(key);
    const { value } = await where();
    check(value.startsWith(day + ": "), `${key} goes to ${value}, want ${day}`);
    check((await tip(page))?.text.startsWith(day), `${key} shows ${(await tip(page))?.text}`);
  }
  await page.keyboard.press("Escape");
  check(!(await tip(page)), "Escape does not close the details");
  await page.locator(".label a").first().focus();
  for (const key of ["Enter", "Space"]) {
    await page.keyboard.press(key);
    if (key === "Enter") await page.locator(".more").first().waitFor();
    check((await where()).open === String(key === "Enter"), `${key} on a system: expanded ${(await where()).open}`);
  }
  await page.context().close();
}

// A page that is read from right to left is the mirror image of another, but
// for text that is not.
async function rightToLeft() {
  for (const view of ["light", "small"]) {
    const page = await open("/rtl/", views[view]);
    const is = await page.evaluate(() => {
      const node = document.querySelector(".node"), box = (what, where = node) => where.querySelector(what).getBoundingClientRect();
      const of = (el, part) => getComputedStyle(el, part), what = node.querySelector(".what");
      const edge = of(what).display === "contents" ? of(what, "::before") : of(what);
      return {
        dir: document.documentElement.dir,
        "label is right of instances": box(".label a").left > box(".rs").right - 1,
        "label is right of uptime": box(".label a").left > box(".up").right - 1,
        "edge is right": edge.borderRightWidth === "4px" && edge.borderLeftWidth === "0px",
        "news have their edge right": of(document.querySelector(".note, .lines > li"), "::before").borderRightWidth === "6px",
        "name is right of support": box(".name", document).left > box(".help", document).right,
        "90 days ago is right of today": box(".axis > :first-child", document).left > box(".axis > :last-child", document).right,
        "an address is not mirrored": of(document.querySelector(".copy code")).direction === "ltr",
      };
    });
    check(is.dir === "rtl", `${view}: dir is ${is.dir}`);
    for (const what in is) check(is[what], `right to left, ${view}: it is not so that ${what}`);
    const bar = page.locator(".days").first();
    await bar.scrollIntoViewIfNeeded();
    await page.waitForTimeout(100);
    const at = await bar.boundingBox();
    await page.mouse.move(at.x + at.width * 0.5 / 90, at.y + 8);
    let t = await tip(page);
    check(t?.inside && /متوقف لمدة 1 س/.test(t.text), `right to left, ${view}: the leftmost day says ${JSON.stringify(t)}`);
    await page.mouse.move(2, 2);
    await bar.focus();
    await page.keyboard.press("End");
    const last = (await tip(page))?.text;
    await page.keyboard.press("ArrowRight");
    const before = (await tip(page))?.text;
    await page.keyboard.press("ArrowLeft");
    check(last && before !== last && (await tip(page))?.text === last, `right to left, ${view}: arrow keys go from ${last} to ${before}`);
    await page.screenshot({ path: `${out}/rtl-${view}-day.png` });
    await page.locator(".label a").first().click({ position: { x: 2, y: 2 } });
    await page.locator(".more").first().waitFor();
    check((await tooWide(page)) <= 0, `right to left, ${view}: an opened system is too wide`);
    await page.screenshot({ path: `${out}/rtl-${view}-more.png`, fullPage: true });
    await page.locator(".sub").click();
    await page.screenshot({ path: `${out}/rtl-${view}-subscribe.png` });
    await page.context().close();
  }
}

// Many services can be searched, with their systems.
async function search() {
  const page = await open("/mixedcrowd/", views.light);
  const shown = () => page.locator(".service:visible").count();
  check((await shown()) === 100, `${await shown()} services`);
  await page.keyboard.press("/");
  check(await page.evaluate(() => document.activeElement.id === "q"), "/ does not focus the search");
  await page.keyboard.type("node 30 of");
  check((await shown()) === 1 && (await page.locator(".node:visible").count()) === 1, `a system was not found: ${await shown()} services`);
  check((await page.locator("#found").innerText()) === "1 of 100 services", `found: ${await page.locator("#found").innerText()}`);
  await page.keyboard.press("Escape");
  check((await shown()) === 100 && (await page.locator("details[open]").count()) === 0, "Escape does not end the search");
  await page.locator("#only").check();
  check((await shown()) === 5 && (await page.locator(".node:visible").count()) === 6, `only problems: ${await shown()} services, ${await page.locator(".node:visible").count()} systems`);
  await page.screenshot({ path: `${out}/only-problems.png` });
  await page.locator("#only").uncheck();
  await page.locator("#all").click();
  check((await page.locator("details[open]").count()) === 95 && (await page.locator("#all").innerText()) === "Close all", "Open all does not open all");
  await page.context().close();

  // It follows what is typed. Whatever else this machine does only slows it, so the best round counts.
  const sixty = await open("/sixty/", views.light);
  const took = await sixty.evaluate(async () => {
    const q = document.getElementById("q");
    let best = Infinity;
    for (let round = 0; round < 30 && best > 50; round++) {
      const times = [];
      for (const word of ["s", "se", "ser", "serv", "service 9", "x", ""]) {
        const start = performance.now();
        q.value = word;
        q.dispatchEvent(new Event("input", { bubbles: true }));
        document.body.offsetHeight;
        times.push(performance.now() - start);
        await new Promise((done) => setTimeout(done, 20));
      }
      best = Math.min(best, Math.max(...times));
    }
    return best;
  });
  check(took <= 50, `a search of 60 services takes ${took} ms`);
  console.log(`search of 60 services: ${took.toFixed(1)} ms at most`);
  await sixty.context().close();
}

// The measures of the page: rows, a phone's height, and days that are equal.
async function measures() {
  const page = await open("/twenty/", views.phone);
  const bottom = await page.evaluate(() => Math.round([...document.querySelectorAll(".node")].pop().getBoundingClientRect().bottom + scrollY));
  check(bottom <= 1600, `the last of 20 systems that are well ends at ${bottom} px on a phone`);
  console.log(`20 systems on a phone: ${bottom} px`);
  for (const view of ["light", "phone"]) {
    await page.setViewportSize(views[view].viewport);
    const rows = await page.evaluate(() => [...document.querySelectorAll(".node")].map((n) => n.getBoundingClientRect().height));
    check(rows.length === 20 && Math.max(...rows) <= 56, `${view}: rows of ${Math.max(...rows)} px`);
    const top = await page.evaluate(() => document.querySelector(".top").getBoundingClientRect().height);
    check(top === 56, `${view}: a header of ${top} px`);
  }
  await page.context().close();
  const reader = await (await browser.newContext()).newPage();
  for (const scale of [1, 1.25, 1.5, 2, 3]) {
    for (const width of [1280, 1111, 390]) {
      const page = await open("/twenty/", { viewport: { width, height: 900 }, deviceScaleFactor: scale });
      const bar = page.locator(".days").nth(3), box = await bar.boundingBox();
      const shot = await page.screenshot({ clip: { x: Math.floor(box.x) - 2, y: box.y + box.height / 2 - 1, width: Math.ceil(box.width) + 4, height: 2 } });
      const runs = await reader.evaluate(async (png) => {
        const image = await createImageBitmap(await (await fetch(png)).blob()), c = new OffscreenCanvas(image.width, 1).getContext("2d");
        c.drawImage(image, 0, 0);
        const data = c.getImageData(0, 0, image.width, 1).data, runs = [];
        for (let i = 0; i < image.width; i++) {
          const green = data[4 * i + 1] > data[4 * i] + 40;
          if (!runs.length || runs.at(-1).green !== green) runs.push({ green, n: 0 });
          runs.at(-1).n++;
        }
        return runs;
      }, "data:image/png;base64," + shot.toString("base64"));
      const bars = runs.filter((r) => r.green).map((r) => r.n), gaps = runs.slice(1, -1).filter((r) => !r.green).map((r) => r.n);
      check(bars.length === 90 && new Set(bars).size === 1 && new Set(gaps).size === 1, `days at ${width} px x ${scale}: ${bars.length} bars of ${[...new Set(bars)]}, gaps of ${[...new Set(gaps)]}`);
      await page.context().close();
    }
  }
  await reader.context().close();
}

async function noScript() {
  const page = await open("/told/", { ...views.light, javaScriptEnabled: false });
  check((await page.locator("noscript meta[http-equiv=refresh]").count()) === 1, "no refresh without scripts");
  check((await page.locator(".rs .down").first().getAttribute("title")) === "Instance 3: down", "no details without scripts");
  await page.screenshot({ path: `${out}/noscript.png`, fullPage: true });
  await page.locator(".label a").first().click();
  await page.waitForURL(/\/node\//);
  check(/Outages, 90 days/.test(await page.locator(".more").innerText()), "a system's page without scripts");
  await page.locator(".facts a").first().click();
  check(/\/history#/.test(page.url()) && (await page.locator(".entry:target").count()) === 1, `an outage leads to ${page.url()}`);
  await page.locator(".sub").click();
  check(await page.locator("#subscribe").isVisible(), "Subscribe does not open without scripts");
  await page.screenshot({ path: `${out}/subscribe.png` });
  await page.context().close();
}

// A feed is readable in a browser.
async function feed() {
  const page = await open("/told/feed.atom", views.light, { quiet: true });
  const size = await page.evaluate(() => getComputedStyle(document.documentElement.querySelector("entry title")).fontSize);
  check(parseFloat(size) > 17, `a feed's titles are ${size} in a browser`);
  await page.screenshot({ path: `${out}/feed.png` });
  await page.context().close();
}

// Whatever colour is configured, what is written in it and on it can be read.
async function brands() {
  const all = await (await fetch(`${base}/brands`)).json();
  check(all.length === 32, `${all.length} colours`);
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
          "a link": [ratio(of("footer a").color, of("body").backgroundColor), 4.5],
          "the button's text": [ratio(of(".help").color, of(".help").backgroundColor), 4.5],
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
    'link "Skip to the services":', "banner:", 'link "Acme Status":', 'button "Subscribe"', 'heading "3 of 6 systems are down" [level=1]', "main:",
    'link "Front pages":', "text: Down for 1 h 1 min, since", 'article "Front pages are down for some":', 'region "Website":',
    'heading "Website" [level=2]', "paragraph: 2 of 3 down", 'heading "Front pages down for 1 h 1 min" [level=3]:', 'list "Instances":', "listitem: 3 down",
    "paragraph: 98.41%", 'heading "Last 14 days" [level=2]', "contentinfo:", 'link "Feed":',
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
  check(/All systems operational/.test(await shows("/healthy/embed")), "the widget does not show in a frame");
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
    const size = { color: i.width === 20 && i.height === 20, icon: i.width === 20 && i.height === 20, uptime: i.width > 20 && i.height === 20 }[kind];
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

const parts = { everyState, asides, validate, budget, details, keyboard, rightToLeft, search, measures, feed, brands, spoken, ...visits, noScript, operatorsOwn, frames, badges, paper, picture };
// Firefox is asked what browsers may differ in: how the page looks, what keys do, and what comes while it is open.
const inFirefox = ["everyState", "details", "keyboard", "rightToLeft", "measures", ...Object.keys(visits), "picture"];
const able = browser.chromium ? Object.keys(parts) : inFirefox;
const chosen = able.filter((name) => !process.env.PARTS || process.env.PARTS.split(",").includes(name));
for (const name of chosen) {
  const start = Date.now();
  await parts[name]({ base, out, open, check, views, taken, browser, accessible }).catch((e) => check(false, `${name}: ${e.stack}`));
  console.log(`${name}: ${Date.now() - start} ms`);
}
await browser.close();
process.exit(wrong ? 1 : 0);
