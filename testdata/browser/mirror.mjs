// Looks at a copy of the page on another web server while that changes. Usage:
//
//   node mirror.mjs URL
//
// It prints what it waits for, and goes on when a line arrives on its standard
// input. What is wrong is printed, and the exit status is 1 then.
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const url = process.argv[2];
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const until = async (what) => {
  console.log("READY " + what);
  await lines.next();
};

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const context = await browser.newContext({ locale: "en-GB" });
const open = async (path) => {
  const page = await context.newPage();
  page.on("pageerror", (e) => { throw e; });
  page.on("console", (m) => { if (m.type() === "error") throw new Error(m.text()); });
  await page.goto(url + path);
  return page;
};
const patient = { timeout: 60e3 };

const page = await open(""), history = await open("history");
await page.waitForFunction(() => /operational/i.test(document.getElementById("say").textContent), null, patient);
if (!/\d Nov|Dec|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct/.test(await page.textContent("#when"))) throw new Error("the copy does not say of which day it is");
await page.evaluate(() => { window.loaded = "once"; });
// A system opens in place, from the file of its page.
await page.click(".label a");
await page.waitForSelector(".node.open .more .ups", patient);

await until("the change");
await page.bringToFront();
await page.waitForFunction(() => /degraded|down/i.test(document.getElementById("say").textContent), null, patient);
if (await page.evaluate(() => window.loaded) !== "once") throw new Error("the page was loaded anew");
if (await page.isVisible("#lost")) throw new Error("a fresh copy says that it is out of date");

await until("the end of Vigil");
await page.waitForSelector("#lost:not([hidden])", patient);
const said = await page.textContent("#lost");
if (!/cannot be refreshed at the moment. It shows \d+ \w+/.test(said)) throw new Error("the notice says " + said);
await history.bringToFront();
await history.waitForSelector("#lost:not([hidden])", patient);
const widget = await open("embed");
await widget.waitForFunction(() => /cannot be reached/.test(document.body.textContent), null, patient);

await until("the next Vigil");
await page.bringToFront();
await page.waitForSelector("#lost", { state: "hidden", ...patient });
console.log("DONE");
await browser.close();
process.exit(0);
