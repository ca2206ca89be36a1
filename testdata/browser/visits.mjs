// Visits that last: what the page does while it stays open. Each takes what
// look.mjs has: base, out, open, check, views, taken and browser.

const later = (ms) => new Promise((done) => setTimeout(done, ms));
const mine = (base) => `${base}/live/`;
const lost = (page) => page.evaluate(() => { const l = document.getElementById("lost"); return l.hidden ? "" : l.textContent; });
const banner = (page) => page.evaluate(() => document.getElementById("say").innerText);

// pass lets seconds pass on a page whose clock is stopped, and returns at
// which of them it looked at the server.
async function pass(page, base, seconds) {
  const looks = [], asked = new Set();
  let second = 0;
  const on = {
    request(r) {
      if (r.url() === mine(base)) looks.push(second);
      asked.add(r);
    },
    requestfinished: (r) => asked.delete(r),
    requestfailed: (r) => asked.delete(r),
  };
  for (const event in on) page.on(event, on[event]);
  for (second = 1; second <= seconds; second++) {
    await page.clock.runFor(1000);
    // What the network brings comes within the second, unless it is held back.
    await later(15);
    for (let i = 0; i < 10 && asked.size; i++) await later(15);
    await page.evaluate(() => new Promise((done) => { // and is worked in; the page may load anew
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = done;
      port2.postMessage(0);
    })).catch(() => {});
  }
  for (const event in on) page.off(event, on[event]);
  return looks;
}

const publish = (base, state) => fetch(`${base}/publish?state=${state}`, { method: "POST" });

// A change comes without a reload and leaves the visitor where they are.
export async function live({ base, out, open, check, views, browser }) {
  await publish(base, "mixed");
  const page = await open("/live/", { ...views.light, viewport: { width: 1280, height: 500 } }, { quiet: true });
  let loads = 0;
  page.on("load", () => loads++);
  const row = page.locator(".node").first();
  await row.locator(".label a").click({ position: { x: 2, y: 2 } });
  await row.locator(".more").waitFor();
  await row.locator(".facts summary").click();
  await page.mouse.move(2, 2);
  await row.locator(".days").focus();
  await page.keyboard.press("ArrowLeft");
  await page.evaluate(() => { window.marked = document.activeElement; });
  await page.waitForTimeout(100);
  const top = () => page.evaluate(() => document.activeElement.getBoundingClientRect().top);
  const before = await top();
  await publish(base, "later");
  await page.waitForFunction(() => /degraded/.test(document.title), null, { timeout: 15e3 });
  await page.waitForFunction(() => !/degraded/.test(document.querySelector(".more .main").innerText), null, { timeout: 10e3 }).catch(() => {});
  const after = await page.evaluate(() => {
    const node = document.querySelector(".node");
    return {
      focus: document.activeElement === window.marked && window.marked.isConnected,
      day: document.activeElement.getAttribute("aria-valuetext"),
      open: node.className,
      more: node.querySelector(".more")?.innerText,
      fold: node.querySelector(".facts details")?.open,
      expanded: node.querySelector(".label a").ariaExpanded,
      banner: document.getElementById("banner").className,
      announcements: document.querySelectorAll(".news").length,
      time: document.querySelector("#when time").textContent,
    };
  });
  check(after.focus, "an update loses the focus");
  check(/^Thursday, November 19: /.test(after.day), `the chosen day is ${after.day}`);
  check(after.open === "node ok open" && after.expanded === "true", `the opened system is ${after.open}, expanded ${after.expanded}`);
  check(after.more && !/degraded/.test(after.more.split("Outages")[0]), `the opened system still says ${after.more}`);
  check(after.fold === true, "a fold in an opened system closes");
  const moved = await top() - before;
  check(Math.abs(moved) < 150, `an update moves what the visitor reads by ${moved} px`);
  check(after.banner === "banner warn", `the banner is ${after.banner}`);
  check(after.announcements === 1, `${after.announcements} announcements after one was taken back`);
  check(!/UTC/.test(after.time), `time not in the visitor's form: ${after.time}`);

  await page.context().setOffline(true);
  await page.waitForFunction(() => !document.getElementById("lost").hidden, null, { timeout: 20e3 });
  await page.screenshot({ path: `${out}/lost.png` });
  await page.context().setOffline(false);
  await page.waitForFunction(() => document.getElementById("lost").hidden, null, { timeout: 20e3 });

  // A server that has nothing new says so in a few bytes. Firefox counts those that it has.
  const [res] = await Promise.all([page.waitForResponse((r) => r.url().endsWith("/live/"), { timeout: 20e3 }), page.waitForTimeout(6e3)]);
  const sizes = await res.request().sizes();
  check(sizes.responseBodySize === 0 || !browser.chromium, `an unchanged page takes ${sizes.responseBodySize} bytes`);
  check(loads === 0, `the page was loaded ${loads} times more`);
  const kept = await page.evaluate(() => [document.cookie, localStorage.length, sessionStorage.length].join());
  check(kept === ",0,0" && (await page.context().cookies()).length === 0, `kept at the visitor's: ${kept}`);
  await page.context().close();
}

// What people write of an outage and of maintenance comes in the same way.
export async function written({ base, out, open, check, views }) {
  await publish(base, "written");
  const page = await open("/live/", { ...views.light, viewport: { width: 1280, height: 500 } }, { quiet: true });
  let loads = 0;
  page.on("load", () => loads++);
  const says = () => page.evaluate(() => ({
    kinds: [...document.querySelectorAll(".note .kind b")].map((b) => b.textContent).join(" > "),
    states: [...document.querySelector(".note .log").querySelectorAll("b")].map((b) => b.textContent).join(" > "),
    past: /Some requests are slow/.test(document.getElementById("past").innerText),
    focus: !!window.marked && document.activeElement === window.marked && window.marked.isConnected,
    top: document.activeElement.getBoundingClientRect().top,
  }));
  await page.locator(".note", { hasText: "Orders fail at the last step" }).locator(".hits a").first().focus();
  await page.evaluate(() => { window.marked = document.activeElement; });
  await page.waitForTimeout(100);
  const before = await says();
  check(before.kinds === "Down for 1 h 1 min > Incident > Planned maintenance" && before.states === "Update > Identified > Investigating" && !before.past, `what people wrote: ${JSON.stringify(before)}`);
  await publish(base, "answered");
  await page.waitForFunction(() => /The new one is in place/.test(document.getElementById("main").innerText), null, { timeout: 15e3 });
  const after = await says();
  check(after.kinds === "Down for 1 h 2 min > Maintenance", `the notes after an update: ${after.kinds}`);
  check(after.states === "Monitoring > Update > Identified > Investigating", `the updates of an incident: ${after.states}`);
  check(after.past, "an incident that is over is not among the last days");
  check(after.focus && Math.abs(after.top - before.top) < 150, `news of an incident lose the focus, or move it: ${JSON.stringify(after)}`);
  check(loads === 0, `the page was loaded ${loads} times more`);
  await page.screenshot({ path: `${out}/written.png` });
  await page.context().close();
}

// With nobody to look at it the page does not look at the server.
export async function hidden({ base, open, check, views }) {
  await publish(base, "mixed");
  const page = await open("/live/", views.light, { stopped: true });
  const looks = await pass(page, base, 21);
  check(looks.length === 4, `looks at the server in 21 s: ${looks}`);
  const hide = (is) => page.evaluate((is) => {
    Object.defineProperty(document, "hidden", { value: is, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, is);
  await hide(true);
  const none = await pass(page, base, 60);
  check(none.length === 0, `a hidden page looks at the server ${none.length} times in a minute`);
  const [asked] = await Promise.all([page.waitForRequest(mine(base), { timeout: 5e3 }).catch(() => null), hide(false)]);
  check(asked, "a page that is seen again does not look at the server at once");
  await asked?.response();
  const back = page.waitForRequest(mine(base), { timeout: 5e3 }).catch(() => null);
  for (let i = 0; i < 10; i++) {
    await later(50); // the answer may be being worked in
    await page.evaluate(() => dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true })));
  }
  check(await back, "a page that comes back from history does not look at the server");
  await page.context().close();
}

// A server that is gone is asked less and less, and the page says that it is
// gone, and of when it is.
export async function gone({ base, open, check, views }) {
  await publish(base, "mixed");
  const page = await open("/live/", views.light, { stopped: true, quiet: true });
  await page.route(mine(base), (route) => route.abort());
  const looks = await pass(page, base, 260);
  const gaps = looks.map((at, i) => at - (looks[i - 1] ?? 0));
  const wanted = [5, 10, 20, 40, 60, 60]; // a busy machine may tell of a look seconds late
  check(wanted.every((gap, i) => gaps[i] >= gap - 1 && gaps[i] <= gap + 8), `seconds between looks at a server that is gone: ${gaps}`);
  const said = await lost(page);
  check(/cannot be refreshed at the moment\. It shows Nov 20, 3:05\sPM\.$/.test(said), `a server that is gone: ${said}`);
  check(await banner(page) === "3 of 6 systems are down", "the last known state is gone too");

  await page.unrouteAll({ behavior: "wait" });
  await pass(page, base, 61);
  check(await lost(page) === "", "the page does not see that the server is back");
  const after = await pass(page, base, 21);
  check(after.length === 4, `looks in 21 s at a server that is back: ${after}`);
  await page.context().close();
}

// What proxies say in place of the server is no page, and a slow answer is
// waited for, once.
export async function proxied({ base, open, check, views }) {
  await publish(base, "mixed");
  const page = await open("/live/", views.light, { stopped: true, quiet: true });
  const was = await page.evaluate(() => document.getElementById("main").innerText);
  for (const answer of [
    { status: 500, contentType: "text/html", body: "<h1>Internal error</h1>" },
    { status: 502, contentType: "text/html", body: "<main id=banner>Bad gateway</main>" },
    { status: 200, contentType: "text/html", body: "<title>Sign in</title><h1>Welcome to the hotel</h1>" },
    { status: 200, contentType: "text/html", body: "" },
  ]) {
    await page.route(mine(base), (route) => route.fulfill(answer));
    await pass(page, base, 61);
    const what = `${answer.status} ${answer.body}`;
    check(/cannot be refreshed/.test(await lost(page)), `not called unreachable: ${what}`);
    check(await page.evaluate(() => document.getElementById("main").innerText) === was, `the page shows something else after ${what}`);
    await page.unrouteAll({ behavior: "wait" });
    await pass(page, base, 61);
    check(await lost(page) === "", `still called unreachable after ${what}`);
  }
  let asked = 0;
  await page.route(mine(base), async (route) => {
    asked++;
    await later(2500);
    await route.continue();
  });
  for (let s = 0; s < 10 && !asked; s++) await pass(page, base, 1);
  await pass(page, base, 8); // at 15 it would be given up
  const early = asked;
  await later(3000);
  check(early === 1, `${early} looks while the first was not answered`);
  check(await banner(page) === "3 of 6 systems are down" && await lost(page) === "", "a slow answer is taken for none");
  await page.unrouteAll({ behavior: "wait" });
  await page.context().close();
}

// A server that comes back as another version gets its page loaded again,
// with what was opened, once.
export async function restarted({ base, open, check, views }) {
  await publish(base, "mixed");
  const page = await open("/live/", views.light, { stopped: true });
  await page.locator(".label a").nth(1).click({ position: { x: 2, y: 2 } });
  await page.locator(".more").waitFor();
  let loads = 0;
  page.on("load", () => loads++);
  await page.route(mine(base), async (route) => {
    const res = await route.fetch();
    const text = await res.text();
    await route.fulfill({ response: res, headers: { ...res.headers(), etag: '"newer"' }, body: text.replace('data-build="', 'data-build="newer ') });
  });
  await pass(page, base, 50);
  check(loads === 0, "loaded again within a minute");
  await pass(page, base, 20);
  check(loads === 1, `loaded ${loads} times for a newer version`);
  check(/^newer /.test(await page.evaluate(() => document.documentElement.dataset.build)), "the older version is still there");
  await page.locator(".more").waitFor();
  const rows = await page.evaluate(() => [...document.querySelectorAll(".node")].map((n) => n.classList.contains("open")).slice(0, 3));
  check(rows.join() === "false,true,false", `opened systems after a load: ${rows}`);
  await pass(page, base, 130);
  check(loads === 1, `loaded ${loads} times in the end`);
  await page.context().close();
}

// A cache on the way may keep an old page while the server is away: it says so.
export async function cached({ base, open, check, views, taken }) {
  await publish(base, "mixed");
  const page = await open("/live/", views.light, { stopped: true });
  const date = new Date(Date.parse(taken) + 7e3).toUTCString();
  for (const [age, late] of [["0", false], ["120", true], ["3", false]]) {
    await page.route(mine(base), async (route) => {
      const res = await route.fetch();
      await route.fulfill({ response: res, headers: { ...res.headers(), date, age } });
    });
    await pass(page, base, 8);
    check((await lost(page) !== "") === late, `a page that a cache has had for ${age} s: ${await lost(page)}`);
    await page.unrouteAll({ behavior: "wait" });
  }
  await page.context().close();
}

// Times are in the visitor's zone and form; the server's is at hand.
export async function zones({ open, check, views, browser }) {
  for (const [timezoneId, locale, when, since, zone] of [
    ["Asia/Tokyo", "ja-JP", "11:05:12 PM", "Nov 18, 9:05 PM", "GMT+9"],
    ["America/New_York", "en-US", "9:05:12 AM", "Nov 18, 7:05 AM", "EST"],
    ["Europe/Budapest", "en-GB", "15:05:12", "18 Nov, 13:05", "CET"],
    ["Pacific/Kiritimati", "en-GB", "4:05:12", "19 Nov, 2:05", "GMT+14"],
  ]) {
    const page = await open("/mixed/", { ...views.light, timezoneId, locale });
    const got = await page.evaluate(() => {
      const t = document.querySelector("#when time");
      return { when: t.textContent, title: t.title, since: document.querySelectorAll(".dur time")[1].textContent, zone: document.getElementById("zone").textContent };
    });
    for (const key in got) got[key] = got[key].replace(/\s/g, " ").replace(/(^|, )0(?=\d:)/, "$1"); // Firefox has 04:05
    check(got.when === when && got.since === since && got.zone === `All times are in your time zone, ${zone}.`, `${timezoneId}: ${got.when}, ${got.since}, ${got.zone}`);
    check(got.title === "14:05:12", `the server's time: ${got.title}`);
    await page.context().close();
  }
  // What was today where the server is has its day where it was yesterday.
  const south = await open("/mixed/", { ...views.light, timezoneId: "Australia/Adelaide", locale: "en-GB" });
  const began = await south.evaluate(() => document.querySelector(".dur time").textContent);
  check(began === "20 Nov, 23:34", `the day before: ${began}`);
  await south.context().close();
  if (!browser.chromium) return; // no other can be told to leave scripts out
  const page = await open("/mixed/", { ...views.light, timezoneId: "Asia/Tokyo", javaScriptEnabled: false });
  const text = await page.locator("#when time").innerText() + " " + await page.locator("#zone").innerText();
  check(text === "14:05:12 All times are UTC.", `without scripts: ${text}`);
  await page.context().close();
}

// Leaving and coming back shows what is, and not what was.
export async function back({ base, open, check, views }) {
  await publish(base, "mixed");
  const page = await open("/live/", views.light, { quiet: true });
  await page.goto(`${base}/badges`);
  await publish(base, "later");
  await page.evaluate(() => history.back()).catch(() => {}); // goBack waits for what a kept page does not do
  const now = await page.waitForFunction(() => /degraded/.test(document.title), null, { timeout: 20e3 }).then(() => true, () => false);
  check(now, `back in history: ${await page.title()}`);
  await page.context().close();
}

// The widget follows the page, and does not go on calling healthy what
// nobody can see any more.
export async function widget({ base, open, check, views }) {
  await publish(base, "mixed");
  const page = await open("/live/embed", views.light, { stopped: true, quiet: true });
  let loads = 0;
  page.on("load", () => loads++);
  const says = () => page.evaluate(() => `${document.body.className}: ${document.body.innerText.trim()}`);
  check(await says() === "embed down: 3 of 6 systems are down", `the widget says ${await says()}`);
  await page.locator("a").focus();
  await publish(base, "later");
  await pass(page, base, 61);
  check(await says() === "embed warn: 1 of 6 systems is degraded", `the widget says ${await says()} later`);
  await page.route(`${base}/live/embed`, (route) => route.abort());
  await pass(page, base, 61);
  check(await says() === "embed wait: The status cannot be reached", `the widget says ${await says()} without a server`);
  await page.unrouteAll({ behavior: "wait" });
  await pass(page, base, 61);
  check(/^embed warn/.test(await says()), `the widget says ${await says()} when the server is back`);
  check(loads === 0 && await page.evaluate(() => document.activeElement.nodeName === "A"), "the widget loads itself anew");
  await page.context().close();
}

// An opened system draws its latency: nothing of that is loaded before, and it
// is read by pointer and keys and as a table.
export async function latency({ base, out, open, check, views, browser, accessible }) {
  await publish(base, "mixed");
  const fetched = (page) => page.requests.filter((url) => /chart|status/.test(url)).map((url) => url.replace(base, "").replace(/v=.*/, "v")).sort().join(" ");
  const plain = (text) => text.replace(/[\u202f\s]+/g, " ").trim();
  const tip = (page) => page.locator("#tip:popover-open").innerText({ timeout: 1000 }).catch(() => null);
  const first = { x: 2, y: 2 };
  for (const view of ["light", "dark", "phone", "print", "forced"]) {
    const page = await open("/live/", { light: views.light, ...views, forced: { ...views.dark, forcedColors: "active" } }[view]);
    check(fetched(page) === "", `before a system is opened ${fetched(page)} was loaded`);
    await page.locator(".label a").first().click({ position: first });
    const chart = page.locator(".chart");
    await chart.waitFor();
    check(fetched(page) === "/live/assets/chart.css?v /live/assets/chart.js?v /live/status/node/id-Website/id-Front%20pages", `an opened system loads ${fetched(page)}`);
    const said = plain(await page.locator(".lat figcaption").innerText());
    check(said === "Latency, 24 hours median 89 ms worst 1,234 ms", `the chart says ${said}`);
    const axes = plain(await page.locator(".plot").innerText());
    check(/^0 800 1,600 ms 3:15 PM 9:15 PM 3:15 AM 9:15 AM 3:15 PM$/.test(axes), `its axes say ${axes}`);
    if (view === "print") await page.emulateMedia({ media: "print" });
    await page.mouse.move(2, 2);
    await page.locator(".node").first().screenshot({ path: `${out}/latency-${view}.png` });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    check(wide <= 0, `${view}: with a chart ${wide} px too wide`);
    await page.locator(".lat summary").click();
    const rows = await page.locator(".lat tbody tr").allInnerTexts();
    check(rows.length === 24 && plain(rows[0]) === "3:15 PM 86 ms 147 ms" && plain(rows[8]) === "11:15 PM 46 ms 112 ms" && plain(rows[23]) === "2:15 PM down \u2013", `the table: ${rows.length} rows, ${[0, 8, 23].map((i) => plain(rows[i] ?? ""))}`);
    if (browser.chromium) await accessible(page, `latency/${view}`);
    if (view === "light") {
      await page.locator(".lat summary").click();
      await chart.focus();
      await page.keyboard.press("Home");
      for (const [key, want] of [["ArrowRight", "3:30 PM to 3:45 PM: median: 89 ms, worst: 137 ms"], ["End", "3:00 PM to 3:15 PM: down"], ["PageDown", "1:15 PM to 1:30 PM: median: 113 ms, worst: 141 ms"]]) {
        await page.keyboard.press(key);
        const value = plain(await chart.getAttribute("aria-valuetext"));
        check(value === want, `${key} in the chart: ${value}, want ${want}`);
        check(plain(await tip(page) ?? "") === want.replace(/M: /, "M ").replace(", worst", " worst"), `${key} shows ${await tip(page)}`);
      }
      await page.locator(".node").first().screenshot({ path: `${out}/latency-keys.png` });
      await page.keyboard.press("Escape");
      const box = await chart.boundingBox();
      await page.mouse.move(box.x + box.width * 35.5 / 96, box.y + 60);
      check(plain(await tip(page) ?? "") === "12:00 AM to 12:15 AM no data", `pointing at a gap shows ${await tip(page)}`);
    }
    await page.context().close();
  }

  // What a change brings is drawn into the same chart.
  const page = await open("/live/", views.light, { quiet: true });
  await page.locator(".label a").first().click({ position: first });
  await page.locator(".chart").focus();
  await page.keyboard.press("Home");
  await page.evaluate(() => { window.marked = document.activeElement; });
  await page.locator(".lat summary").click();
  await page.locator(".chart").focus();
  const asked = page.waitForResponse((r) => /status.node/.test(r.url()), { timeout: 20e3 });
  await publish(base, "later");
  check((await (await asked).json()).status === "healthy", "the latency is not asked for again after a change");
  await page.waitForTimeout(500);
  const kept = await page.evaluate(() => [document.activeElement === window.marked, window.marked.isConnected, document.querySelectorAll(".chart").length, document.querySelector(".lat details").open, window.marked.getAttribute("aria-valuenow")].join());
  check(kept === "true,true,1,true,1", `a change loses the chart: ${kept}`);
  await page.context().close();

  // A system's own page, too, and what is measured nowhere or cannot be had.
  await publish(base, "mixed");
  const own = await open("/live/node/id-Website/id-Front%20pages", views.light, { quiet: true });
  await own.locator(".chart").waitFor();
  await publish(base, "later");
  await own.waitForFunction(() => document.title.startsWith("Front pages: operational"), null, { timeout: 20e3 });
  await own.waitForTimeout(2500);
  check((await own.locator(".more").count()) === 1 && (await own.locator(".chart").count()) === 1, `a system's own page has ${await own.locator(".more").count()} times what is opened after a change`);
  await own.context().close();
  for (const [name, answer, want] of [
    ["Inbound", null, "Latency, 24 hours Nothing was measured in the last 24 hours."],
    ["Edge", { status: 503, body: "no" }, "Latency, 24 hours The latency cannot be loaded at the moment."],
    ["Edge", { status: 200, body: "<h1>Sign in</h1>" }, "Latency, 24 hours The latency cannot be loaded at the moment."],
    ["Fleet", null, ""],
  ]) {
    const page = await open("/mixed/", views.light, { quiet: true });
    if (answer) await page.route(/status.node/, (route) => route.fulfill(answer));
    const node = page.locator(".node", { hasText: name });
    await node.locator(".label a").click({ position: first });
    await node.locator(".more").waitFor();
    if (want) await node.locator(".lat p").filter({ hasNotText: "Loading" }).waitFor();
    const said = want ? plain(await node.locator(".lat").innerText()) : String(await node.locator(".lat").count());
    check(said === (want || "0"), `${name}: ${said}`);
    if (answer?.status !== 200) await node.screenshot({ path: `${out}/latency-${name}.png` });
    await page.context().close();
  }
}
