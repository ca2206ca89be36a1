// The browsers that look at the page, and what differs between them.
import { chromium, firefox } from "playwright-core";

const starts = {
  chromium: () => chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  }),
  // The distribution's Firefox is driven by WebDriver BiDi, which has no word
  // for the visitor's colours: each scheme is a Firefox of its own.
  firefox: (scheme) => firefox.launch({
    executablePath: "/usr/bin/firefox-esr", channel: "moz-firefox",
    firefoxUserPrefs: { "layout.css.prefers-color-scheme.content-override": scheme === "dark" ? 0 : 1 },
  }),
};

// start returns a browser by its name. What it cannot do is in its favour: a
// Firefox has neither fingers nor a phone's way to zoom.
export function start(name) {
  const running = new Map(); // by colour scheme, where that matters
  return {
    name,
    chromium: name === "chromium",
    async newContext({ colorScheme = "light", isMobile, hasTouch, ...options } = {}) {
      const key = name === "firefox" ? colorScheme : "";
      if (!running.has(key)) running.set(key, starts[name](key));
      const browser = await running.get(key);
      return browser.newContext(name === "firefox" ? { ...options, colorScheme: null, forcedColors: null, contrast: null, reducedMotion: null } : { ...options, colorScheme, isMobile, hasTouch });
    },
    async close() {
      for (const browser of running.values()) await (await browser).close();
    },
  };
}
