// Above the curves, on the same axis: what happened when, and how unusual each domain's loss was.
import { html, useEffect, useLayoutEffect, useRef, useState, useSignal, isDark } from "./lib.js";
import { GUTTER, RIGHT, onCursor, colour, axisLabel } from "./plot.js";
import { signed, whole } from "./format.js";
import { t, lang } from "./words.js";

const ROW = 20;

export function useWidth() {
  const box = useRef(null);
  const [width, set] = useState(0);
  useLayoutEffect(() => {
    const watch = new ResizeObserver(() => set(box.current?.clientWidth ?? 0));
    watch.observe(box.current);
    set(box.current.clientWidth);
    return () => watch.disconnect();
  }, []);
  return [box, width];
}

function place(mark, axis) {
  return axis === "time" ? mark.time : axis === "tokens" ? mark.tokens : mark.x;
}

export function Lane({ marks, axis, range, open }) {
  const [box, width] = useWidth();
  const language = useSignal(lang);
  const [tip, setTip] = useState(null);
  const inner = Math.max(10, width - GUTTER - RIGHT);
  const [first, last] = range;
  const at = (x) => GUTTER + ((x - first) / Math.max(1e-12, last - first)) * inner;
  const isIn = (x) => x >= first && x <= last;
  const hover = (words, tone) => ({
    onMouseEnter: (event) => setTip(tipAt(box.current, event.currentTarget, words, tone)),
    onMouseLeave: () => setTip(null),
    onFocus: (event) => setTip(tipAt(box.current, event.currentTarget, words, tone)),
    onBlur: () => setTip(null),
  });
  const rows = [];
  if (marks.incidents.length || marks.alarms.length) rows.push("incidents");
  if (marks.remedies.length || marks.returns.length) rows.push("remedies");
  rows.push("checkpoints");
  if (marks.changes.length) rows.push("changes");
  const top = (name) => rows.indexOf(name) * ROW;
  const body = [];
  rows.forEach((name, index) => {
    const y = index * ROW + ROW / 2;
    body.push(html`<line class="rail" x1=${GUTTER} x2=${GUTTER + inner} y1=${y} y2=${y} />`);
    body.push(html`<text class="name" x=${GUTTER - 8} y=${y + 3.5} text-anchor="end">${t(`lane_${name}`)}</text>`);
  });
  if (rows.includes("incidents")) {
    const y = top("incidents");
    for (const x of thin(marks.alarms.map((one) => place(one, axis)).filter(isIn), at)) {
      body.push(html`<rect class="alarm" x=${at(x) - 0.75} y=${y + 3} width="1.5" height="3.5" />`);
    }
    marks.incidents.forEach((one, index) => {
      const a = place(one, axis), b = one.until ? place(one.until, axis) : last;
      if (b < first || a > last) return;
      const x0 = Math.min(Math.max(GUTTER, at(a)), GUTTER + inner - 16), x1 = Math.min(GUTTER + inner, Math.max(at(b), at(a) + 16));
      const cause = one.cause ? one.cause[language] : t("not_examined");
      const words = [`${one.id} \u00b7 ${t(`outcome_${one.state}`)}`, cause, one.signals[language].join(t("comma"))];
      body.push(html`<a href=${open(one.id)} class="bar ${one.state}" aria-label=${words.join(". ")}
        ...${hover(words, one.state === "cured" ? "good" : "warn")}>
        <rect x=${x0} y=${y + 7} width=${Math.max(16, x1 - x0)} height="10" rx="3" />
        <text x=${x0 + 5} y=${y + 15.2}>${index + 1}</text></a>`);
    });
  }
  if (rows.includes("remedies")) {
    const y = top("remedies") + ROW / 2;
    for (const one of marks.returns) {
      const to = place(one, axis), from = axis === "step" ? one.from ?? one.x : to;
      if (Math.max(to, from) < first || Math.min(to, from) > last) continue;
      const a = at(Math.max(first, Math.min(last, from))), b = at(Math.max(first, Math.min(last, to)));
      const words = [`${t(`cause_${one.cause}`)} \u2192 ${t("step_n", { n: whole(one.x) })}`, `${t("attempt")} ${one.attempt}`];
      body.push(html`<g class="return" tabindex="0" role="img" aria-label=${words.join(". ")} ...${hover(words, "act")}>
        <path d=${`M${a} ${y}H${b}`} /><path class="head" d=${`M${b} ${y}l5 -3.2v6.4z`} /></g>`);
    }
    for (const one of marks.remedies) {
      const x = place(one, axis);
      if (!isIn(x)) continue;
      const words = [`${one.id} \u00b7 ${one.result ? t(`result_${one.result.replace(" ", "_")}`) : t(one.done ? "state_done" : "state_due")}`, one.plan[language]];
      const tone = one.result === "cured" ? "good" : one.result ? "bad" : "act";
      body.push(html`<a href=${open(one.incident)} class="remedy ${tone}" aria-label=${words.join(". ")}
        ...${hover(words, tone)}>
        <path d=${`M${at(x)} ${y - 5.5}l5.5 5.5l-5.5 5.5l-5.5 -5.5z`} /></a>`);
    }
  }
  const y = top("checkpoints") + ROW / 2;
  const bad = marks.checkpoints.filter((one) => !one.ok).map((one) => place(one, axis)).filter(isIn);
  for (const x of thin(marks.checkpoints.filter((one) => one.ok).map((one) => place(one, axis)).filter(isIn), at, 4)) {
    body.push(html`<circle class="saved" cx=${at(x)} cy=${y} r="2.2" />`);
  }
  for (const x of thin(bad, at)) body.push(html`<path class="failed" d=${`M${at(x) - 3} ${y - 3}l6 6m0 -6l-6 6`} />`);
  if (rows.includes("changes")) {
    const yc = top("changes") + ROW / 2;
    for (const one of marks.changes) {
      const x = place(one, axis);
      if (!isIn(x)) continue;
      const words = [`${t(`change_${one.what}`)} \u00b7 ${t("step_n", { n: whole(one.x) })}`, one.words];
      body.push(html`<g class="change ${one.what}" tabindex="0" role="img" aria-label=${words.join(". ")} ...${hover(words, "plain")}>
        <rect x=${at(x) - 3.5} y=${yc - 3.5} width="7" height="7" rx="1.5" /></g>`);
    }
  }
  const cursor = useRef(null);
  useEffect(() => onCursor((x) => {
    if (!cursor.current) return;
    const isShown = x != null && isIn(x);
    cursor.current.style.display = isShown ? "block" : "none";
    if (isShown) cursor.current.style.transform = `translateX(${at(x)}px)`;
  }));
  return html`<div class="lane" ref=${box}>
    <svg width=${width} height=${rows.length * ROW} role="group" aria-label=${t("lane")}>${body}</svg>
    <div class="cursor" ref=${cursor}></div>
    ${tip && html`<div class="tip ${tip.tone}" style=${`left:${tip.left}px;top:${tip.top}px`}>${tip.words.map((one) => html`<div>${one}</div>`)}</div>`}
  </div>`;
}

function tipAt(box, target, words, tone) {
  const own = box.getBoundingClientRect(), it = target.getBoundingClientRect();
  const middle = it.left - own.left + Math.min(it.width, 60) / 2;
  return { words, tone, left: Math.max(8, Math.min(middle - 20, own.width - 320)), top: it.bottom - own.top + 6 };
}

function thin(values, at, apart = 2) {
  const found = [];
  let before = -Infinity;
  for (const value of values.sort((a, b) => a - b)) {
    if (at(value) - before >= apart) { found.push(value); before = at(value); }
  }
  return found;
}

// How far each loss was from its usual: nothing below 5 sigmas, full colour from 13 on.
export function Heat({ data, axis, range }) {
  const [box, width] = useWidth();
  const canvas = useRef(null);
  const dark = useSignal(isDark);
  const [tip, setTip] = useState(null);
  const rows = data?.header.rows ?? [];
  const height = 13;
  const inner = Math.max(10, width - GUTTER - RIGHT);
  useLayoutEffect(() => {
    const one = canvas.current;
    if (!one || !data) return;
    const ratio = devicePixelRatio || 1;
    one.width = inner * ratio;
    one.height = rows.length * height * ratio;
    const ctx = one.getContext("2d"), [first, last] = range;
    ctx.clearRect(0, 0, one.width, one.height);
    const [x, values] = data.arrays;
    rows.forEach((_, row) => {
      const y = row * height * ratio;
      ctx.fillStyle = colour("hair");
      ctx.fillRect(0, y + ratio, one.width, (height - 2) * ratio);
      if (!values) return;
      for (let i = 0; i + 1 < x.length; i++) {
        const far = values[row][i], size = Math.abs(far);
        if (!(size > 5)) continue;
        const a = ((x[i] - first) / (last - first)) * one.width, b = ((x[i + 1] - first) / (last - first)) * one.width;
        if (b < 0 || a > one.width) continue;
        ctx.globalAlpha = Math.min(1, 0.2 + 0.8 * ((size - 5) / 8));
        ctx.fillStyle = colour(far > 0 ? "hot" : "cold");
        ctx.fillRect(a, y + ratio, Math.max(2 * ratio, b - a), (height - 2) * ratio);
      }
      ctx.globalAlpha = 1;
    });
  }, [data, width, range[0], range[1], dark]);
  const move = (event) => {
    if (!data?.arrays.length) return;
    const own = canvas.current.getBoundingClientRect(), [x, values] = data.arrays;
    const row = Math.min(rows.length - 1, Math.max(0, Math.floor((event.clientY - own.top) / height)));
    const here = range[0] + ((event.clientX - own.left) / own.width) * (range[1] - range[0]);
    let i = 0;
    while (i + 2 < x.length && x[i + 1] <= here) i += 1;
    setTip({ left: Math.min(event.clientX - own.left + GUTTER, width - 190), top: (row + 1) * height + 4, words: `${rows[row] === "loss" ? t("all_domains") : rows[row]} \u00b7 ${axisLabel(axis, x[i])} \u00b7 ${signed(values[row][i])}\u2009\u03c3` });
  };
  return html`<div class="heat" ref=${box} role="img" aria-label=${t("heat")}>
    <div class="names" style=${`width:${GUTTER - 8}px`}>${rows.map((name) => html`<div style=${`height:${height}px`} title=${name}>${name === "loss" ? t("total") : name}</div>`)}</div>
    <canvas ref=${canvas} style=${`width:${inner}px;height:${rows.length * height}px;left:${GUTTER}px`} onMouseMove=${move} onMouseLeave=${() => setTip(null)}></canvas>
    <div style=${`height:${rows.length * height}px`}></div>
    ${tip && html`<div class="tip plain" style=${`left:${tip.left}px;top:${tip.top}px`}>${tip.words}</div>`}
  </div>`;
}
