// Draws the latency of a system that was opened. The page's script loads this
// when the first one is.

const doc = document;
const quarter = 15 * 60e3;

// make makes an element with attributes and what is in it.
function make(tag, attributes, ...inside) {
  const svg = /^(svg|path)$/.test(tag), e = svg ? doc.createElementNS("http://www.w3.org/2000/svg", tag) : doc.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...inside);
  return e;
}

// The style sheet, once it is there or cannot be had.
let styled;
function style(href) {
  return styled ??= new Promise((done) => {
    const sheet = make("link", { rel: "stylesheet", href });
    sheet.onload = sheet.onerror = done;
    doc.head.append(sheet);
  });
}

// draw fills a figure with what its address answers. When that fails, it says
// so there and throws.
export async function draw(figure, whole, { lang, forms, say }) {
  const words = JSON.parse(figure.dataset.words);
  const title = make("b", {}, words.latency_24h);
  const tell = (key) => figure.replaceChildren(make("figcaption", {}, title), make("p", { class: "soft plot", role: "status" }, words[key]));
  const answer = fetch(whole("json"), { cache: "no-cache", signal: AbortSignal.timeout(15e3) });
  answer.catch(() => {});
  await style(whole("sheet"));
  tell("loading");
  figure.hidden = false;
  let report;
  try {
    const res = await answer;
    if (!res.ok) throw new Error(res.status);
    report = await res.json();
  } catch (e) {
    tell("latency_failed");
    throw e;
  }
  const { latency, outages } = report;
  if (latency?.median_ms == null) {
    tell("latency_none");
    return;
  }

  const digits = [0, 1].map((n) => new Intl.NumberFormat(lang, { minimumFractionDigits: n, maximumFractionDigits: n }));
  const number = (v) => digits[v < 10 ? 1 : 0].format(v && Math.max(v, 0.1));
  const ms = (v) => say(words.milliseconds, { n: number(v) });
  const { from, median_ms: medians, worst_ms: worsts } = latency.quarters, n = medians.length;
  const at = (i) => Date.parse(from) + i * quarter;
  const time = (i) => forms.t.format(at(i));
  const between = (i, k) => say(words.from_to, { from: time(i), to: time(k) });
  const down = (i) => outages.some((o) => Date.parse(o.start) < at(i + 1) && (!o.end || Date.parse(o.end) > at(i)));
  const missing = (i) => (down(i) ? words.down : words.no_data);

  const top = round(latency.worst_ms);
  const y = (v) => +(100 - (v / top) * 100).toFixed(1);
  const line = { worst: "", median: "", range: "", gap: "" };
  for (let i = 0; i < n; ) {
    if (medians[i] === null) {
      if (down(i)) line.gap += `M${i} 0h1v100h-1z`;
      i++;
      continue;
    }
    // What was measured without a break is one line, from edge to edge.
    let end = i;
    while (end < n && medians[end] !== null) end++;
    const path = (values) => {
      const points = [`${i} ${y(values[i])}`];
      for (let k = i; k < end; k++) points.push(`${k + 0.5} ${y(values[k])}`);
      return [...points, `${end} ${y(values[end - 1])}`];
    };
    const worst = path(worsts), median = path(medians);
    line.worst += "M" + worst.join("L");
    line.median += "M" + median.join("L");
    line.range += "M" + [...worst, ...median.reverse()].join("L") + "Z";
    i = end;
  }
  const details = medians.map((m, i) => [between(i, i + 1), m === null ? [missing(i)] : [`${words.median}: ${ms(m)}`, `${words.worst}: ${ms(worsts[i])}`]]);
  const chart = make("svg", {
    class: "chart", viewBox: `0 0 ${n} 100`, preserveAspectRatio: "none", role: "slider", tabindex: 0,
    "aria-label": words.latency_chart, "data-t": JSON.stringify(details),
  }, make("path", { class: "grid", d: `M0 0h${n}M0 50h${n}M0 100h${n}` }), ...["gap", "range", "worst", "median"].map((name) => make("path", { class: name, d: line[name] })));

  const sum = (name, value) => make("span", {}, make("svg", { class: "k", viewBox: "0 0 14 10", "aria-hidden": true }, make("path", { class: name, d: "M0 5h14" })), words[name] + " ", make("b", {}, ms(value)));
  const list = (tag, name, texts) => make(tag, { class: name, "aria-hidden": true }, ...texts.map((text) => make("span", {}, text)));
  const cells = (tag, texts) => make("tr", {}, ...texts.map((text) => make(tag, tag === "th" ? { scope: "col" } : {}, text)));
  const hours = [];
  for (let i = 0; i < n; i += 4) {
    const known = [0, 1, 2, 3].map((k) => i + k).filter((k) => medians[k] !== null);
    const sorted = known.map((k) => medians[k]).sort((a, b) => a - b);
    const isDown = [0, 1, 2, 3].some((k) => medians[i + k] === null && down(i + k));
    hours.push(cells("td", [time(i), ...(known.length ? [ms(sorted[(sorted.length - 1) >> 1]), ms(Math.max(...known.map((k) => worsts[k])))] : [isDown ? words.down : words.no_data, "\u2013"])]));
  }
  figure.replaceChildren(
    make("figcaption", {}, title, " ", sum("median", latency.median_ms), " ", sum("worst", latency.worst_ms)),
    make("div", { class: "plot" }, list("div", "y", ["0", number(top / 2), ms(top)]), chart, list("p", "x", [0, 1, 2, 3, 4].map((k) => time((k * n) / 4)))),
    make("details", { class: "fold" }, make("summary", {}, words.latency_table),
      make("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": words.latency_table },
        make("table", {}, make("thead", {}, cells("th", [words.hour, words.median, words.worst])), make("tbody", {}, ...hours)))),
  );
}

// round returns the first number of few digits that is not below v.
function round(v) {
  const unit = 10 ** Math.floor(Math.log10(v));
  return unit * [1, 1.2, 1.6, 2, 3, 4, 6, 8, 10].find((k) => k * unit >= v * 0.9999);
}
