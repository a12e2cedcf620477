// The fixed panel: perplexity with its interval, shares of the mixture below it on the same axis,
// and why it moved, pinned to the curve.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState, useSignal, isDark } from "./lib.js";
import { ask, askArrays, useAsked } from "./net.js";
import { lang, t } from "./words.js";
import { whole, fixed, percent, signed, NONE } from "./format.js";
import { Problem, Empty, Segments } from "./parts.js";
import { Plot, domainColour, colour, GUTTER, RIGHT, limits } from "./plot.js";
import { useColumns, useView } from "./run.js";
import { useWidth } from "./lane.js";

export function Perplexity({ id, told, glance, beat }) {
  const language = useSignal(lang);
  const view = useView();
  const dark = useSignal(isDark);
  const [columns, box] = useColumns();
  const version = told.lines.length + Math.floor(beat / 5);
  const { data, error } = useAsked((stop) => ask("looks", { run: id }, stop), [id, language, version]);
  const shares = useAsked((stop) => (columns ? askArrays("shares", { run: id, axis: view.axis, columns: Math.round(columns / 2), first: view.zoom?.[0], last: view.zoom?.[1] }, stop) : Promise.resolve(null)), [id, view.axis, view.zoom?.join(), columns, Math.floor(beat / 5)]);
  const key = { step: "x", tokens: "tokens", time: "time" }[view.axis];
  const drawn = useMemo(() => (data ? arrange(data, key) : null), [data, key]);
  if (!data) return error ? html`<${Problem} error=${error} />` : html`<${Empty}>${t("loading")}<//>`;
  if (!data.count) return html`<div class="card"><${Empty}>${t("no_panel")}<//></div>`;
  const extent = [Math.min(drawn.x[0], shares.data?.arrays[0]?.[0] ?? Infinity), Math.max(drawn.x[drawn.x.length - 1], shares.data?.arrays[0]?.at(-1) ?? -Infinity)];
  const range = view.zoom ?? (extent[1] > extent[0] ? extent : [extent[0] - 1, extent[0] + 1]);
  const zoom = (to) => view.set({ first: to ? Math.round(to[0]) : null, last: to ? Math.round(to[1]) : null });
  const pins = [
    ...newest(data.trends).map((one, at) => ({ x: one[key], label: String(at + 1), tone: one.state === "did not" ? "bad" : one.is_expected ? "act" : "warn" })),
    ...data.panels.filter((one) => one.version > 1).map((one) => ({ x: one[key], label: `v${one.version}`, tone: "soft" })),
  ];
  const paints = data.domains.map((_, n) => domainColour(n));
  // A look before the run may leave the picture at the top, marked by a caret.
  const settled = !view.zoom && !view.isLog && data.count > 4 ? range[0] + 0.06 * (range[1] - range[0]) : null;
  const common = { x: drawn.x, axis: view.axis, range, stride: 1, onZoom: zoom, pins, settled };
  // A domain that was learned from nothing falls by powers of ten.
  const isSteep = (n) => {
    const seen = [...drawn.ppl[n]].filter((v, i) => Number.isFinite(v) && (settled == null || drawn.x[i] >= settled));
    return seen.length > 1 && Math.max(...seen) > 10 * Math.min(...seen);
  };
  const chart = (indices, height, title, isLog = view.isLog || indices.some(isSteep)) => html`<${Plot} key=${`${title}${dark}`} ...${common} title=${title} unit=${t("perplexity_unit") + (isLog ? `, ${t("log")}` : "")} height=${height} isLog=${isLog} isTrimmed=${view.isTrimmed}
    lines=${indices.map((n) => ({ name: data.domains[n].name, label: indices.length > 1 ? data.domains[n].name : "", colour: paints[n], raw: drawn.ppl[n], odd: [], isJoined: true }))}
    bands=${indices.map((n) => ({ colour: paints[n], low: drawn.low[n], high: drawn.high[n] }))}
    points=${[...indices.flatMap((n) => data.domains[n].looks.filter((one) => one.ppl != null).map((one) => ({ x: one[key], y: one.ppl, colour: paints[n], size: data.count > 80 ? 1.5 : 2.6 }))), ...indices.flatMap((n) => drawn.foretold[n].map((one) => ({ ...one, colour: paints[n], isHollow: true, isWanted: true, size: 3.6 }))), ...indices.flatMap((n) => data.lost.filter((one) => one.ppl[n] != null).map((one) => ({ x: one[key], y: one.ppl[n], colour: colour("faint"), isHollow: true })))]} format=${(v) => fixed(v, 2)} />`;
  const all = data.domains.map((_, n) => n);
  return html`<div class="panelpage"><div class="charts" ref=${box}>
    <div class="tools" role="toolbar" aria-label=${t("tools")}>
      <${Segments} label=${t("axis")} value=${view.axis} options=${[["step", t("axis_step")], ["tokens", t("axis_tokens")], ["time", t("axis_time")]]} onPick=${(axis) => view.set({ axis, first: null, last: null })} />
      <button aria-pressed=${String(view.isLog)} onClick=${() => view.set({ log: view.isLog ? "0" : "1" })}>${t("log_scale")}</button>
      <${Segments} label=${t("domains")} value=${view.isOverlay ? "1" : "0"} options=${[["0", t("apart")], ["1", t("overlay")]]} onPick=${(overlay) => view.set({ overlay })} />
      <span class="grow"></span><button disabled=${!view.zoom} onClick=${() => zoom(null)}>${t("reset")}</button></div>
    ${view.isOverlay ? html`<div class="card">${chart(all, 320, t("perplexity"))}</div>` : html`<div class=${`grid ${all.length > 4 ? "two-axis" : "one-axis"}`}>${all.map((n) => html`<div class="card" key=${data.domains[n].name}>${chart([n], 170, data.domains[n].name)}</div>`)}</div>`}
    <div class="card"><${Shares} data=${shares.data} range=${range} /></div>
    <${Table} data=${data} paints=${paints} />
    <p class="legend">${t("legend_panel")}</p></div>
    <aside class="side"><${Trends} trends=${newest(data.trends)} /><${Panels} panels=${data.panels} /></aside></div>`;
}

// One axis for all domains; NaN where a domain was not looked at.
function arrange(data, key) {
  const x = [...new Set(data.domains.flatMap((one) => one.looks.map((look) => look[key])))].sort((a, b) => a - b);
  const place = new Map(x.map((value, at) => [value, at]));
  const column = (one, name) => {
    const found = new Float64Array(x.length).fill(NaN);
    for (const look of one.looks) if (look[name] != null) found[place.get(look[key])] = look[name];
    return found;
  };
  const foretold = data.domains.map((one) => data.trends.flatMap((trend) => trend.moves.filter((move) => move.domain === one.name && move.expected != null).map((move) => ({ x: trend[key], y: move.expected }))));
  return { x: Float64Array.from(x), ppl: data.domains.map((one) => column(one, "ppl")), low: data.domains.map((one) => column(one, "low")), high: data.domains.map((one) => column(one, "high")), foretold };
}

// The newest state of each explanation, in the order in which they began.
function newest(trends) {
  const found = new Map();
  for (const one of trends) found.set(one.id, { ...(found.get(one.id) ?? {}), ...Object.fromEntries(Object.entries(one).filter(([name, v]) => !(name in { x: 1, tokens: 1, time: 1 } && found.has(one.id)) && !(Array.isArray(v) && !v.length && found.get(one.id)?.[name]?.length))) });
  return [...found.values()];
}

function Shares({ data, range }) {
  const [box, width] = useWidth();
  const canvas = useRef(null);
  const dark = useSignal(isDark);
  const height = 96, inner = Math.max(10, width - GUTTER - RIGHT);
  useLayoutEffect(() => {
    if (!canvas.current || !data?.arrays.length) return;
    const ratio = devicePixelRatio || 1, ctx = canvas.current.getContext("2d"), [x, parts] = data.arrays;
    canvas.current.width = inner * ratio;
    canvas.current.height = height * ratio;
    const at = (value) => ((value - range[0]) / (range[1] - range[0])) * inner * ratio;
    const edge = (i) => (i < x.length ? at(x[i]) : at(Math.min(range[1], x[x.length - 1] + (x[1] - x[0] || 1))));
    const below = new Float64Array(x.length);
    parts.forEach((part, row) => {
      ctx.fillStyle = domainColour(row);
      ctx.globalAlpha = 0.75;
      for (let i = 0; i < x.length; i++) {
        const tall = part[i] * height * ratio, left = Math.round(edge(i));
        ctx.fillRect(left, height * ratio - below[i] - tall, Math.max(1, Math.round(edge(i + 1)) - left), tall);
        below[i] += tall;
      }
    });
  }, [data, width, range[0], range[1], dark]);
  const names = data?.header.rows ?? [];
  return html`<figure class="plot shares" role="img" aria-label=${t("shares")} ref=${box}><figcaption><b>${t("shares")}</b><span class="readout" aria-hidden="true">${names.map((name, n) => html`<span class="value"><i style=${`background:${domainColour(n)}`}></i><em>${name}</em><span>${data.arrays.length ? percent(data.arrays[1][n].at(-1)) : NONE}</span></span>`)}</span></figcaption>
    <div class="canvas" style=${`padding:0 ${RIGHT}px 8px ${GUTTER}px`}><canvas ref=${canvas} style=${`width:${inner}px;height:${height}px`}></canvas></div></figure>`;
}

function Table({ data, paints }) {
  return html`<div class="card table" tabindex="0" role="region" aria-label=${t("perplexity")}><table><thead><tr>${["domain", "perplexity", "interval", "change", "nll", "bits", "sequences"].map((one) => html`<th class=${one === "domain" ? "" : "n"}>${t(`col_${one}`)}</th>`)}</tr></thead>
    <tbody>${data.domains.map((one, n) => {
      const last = one.looks[one.looks.length - 1], before = one.looks[one.looks.length - 2];
      if (!last) return null;
      return html`<tr><th scope="row"><i class="dot" style=${`background:${paints[n]}`}></i>${one.name}</th><td class="n"><b>${fixed(last.ppl, 3)}</b></td><td class="n soft">${fixed(last.low, 2)}\u2009\u2013\u2009${fixed(last.high, 2)}</td>
        <td class="n">${before?.ppl ? html`<span class=${last.ppl <= before.ppl ? "good" : "warn"}>${signed(100 * (last.ppl / before.ppl - 1), 2)}\u2009%</span>` : NONE}</td>
        <td class="n">${fixed(last.loss, 4)}</td><td class="n">${fixed(last.bits, 4)}</td><td class="n">${whole(last.n)}${last.weak && html` <span class="warn" title=${t("weak", { needed: whole(last.needed) })}>${t("too_few")}</span>`}${last.odd > 0 && html` <span class="bad">${t("odd_n", { n: last.odd })}</span>`}</td></tr>`;
    })}</tbody></table></div>`;
}

function Trends({ trends }) {
  return html`<section class="card"><h2>${t("trends")} <span class="count">${trends.length}</span></h2>
    ${!trends.length ? html`<p class="empty small">${t("no_trends")}</p>` : html`<ol class="trends">${trends.map((one, at) => html`<li class=${one.state === "did not" ? "bad" : one.is_expected ? "plain" : "warn"}>
      <div class="line"><span class="pin">${at + 1}</span><b>${one.words}</b><span class="soft">${one.domains.join(" ")}</span></div>
      <p class="soft">${t("step_n", { n: whole(one.x) })} \u00b7 ${t(`trend_${one.state.replace(" ", "_")}`)} \u00b7 ${one.is_expected ? t("expected_so") : t("not_expected")}</p>
      ${one.moves.length > 0 && html`<table class="mini"><tbody>${one.moves.map((move) => html`<tr><th scope="row">${move.domain}</th><td class="n">${fixed(move.before, 2)} \u2192 ${fixed(move.now, 2)}</td><td class="n">${signed(move.percent, 2)}\u2009%</td><td class="n soft">${signed(move.low, 1)}\u2009\u2026\u2009${signed(move.high, 1)}</td></tr>`)}</tbody></table>`}
      <ul>${one.for.map((text) => html`<li class="for">${text}</li>`)}${one.against.map((text) => html`<li class="against">${text}</li>`)}</ul>
      ${one.expected && html`<p>${t("then_expected")}: ${one.expected}${one.due != null ? ` (${t("by_step", { step: whole(one.due) })})` : ""}</p>`}
      ${one.refuted_by && html`<p class="soft">${t("refuted_by")}: ${one.refuted_by}</p>`}</li>`)}</ol>`}</section>`;
}

function Panels({ panels }) {
  if (!panels.length) return null;
  return html`<section class="card"><h2>${t("panels")}</h2><ul class="force">${panels.map((one) => html`<li><b>v${one.version}</b> <span class="soft">${t("step_n", { n: whole(one.x) })} \u00b7 ${t("sequences_n", { n: whole(one.sequences.reduce((a, b) => a + b, 0)) })}${one.tokenizer ? ` \u00b7 ${one.tokenizer}` : ""}</span>${one.why && html`<p>${one.why}</p>`}${one.notes.map((text) => html`<p class="warn">${text}</p>`)}</li>`)}</ul></section>`;
}

