// The pages of one run, and the first of them: curves under a lane of events.
import { html, useEffect, useMemo, useRef, useState, useSignal, address, requery, route, kept, keep } from "./lib.js";
import { ask, askArrays, askSeries, follow } from "./net.js";
import { lang, t } from "./words.js";
import { compact, duration, percent, whole, fixed, signed, number, clock } from "./format.js";
import { State, Facts, Segments, Problem, Empty, useNow } from "./parts.js";
import { Plot, domainColour, colour } from "./plot.js";
import { Lane, Heat } from "./lane.js";
import { Side } from "./side.js";
import { Incidents, IncidentPage } from "./incident.js";
import { Perplexity } from "./perplexity.js";
import { Machines } from "./machines.js";
import { Data } from "./data.js";
import { useKeys } from "./keys.js";

export const PAGES = ["curves", "incidents", "perplexity", "machines", "data"];
const OTHER = ["grad_norm", "lr", "lr_planned", "tokens/s", "update"];

export function RunPages({ id, parts, runs, mayChange, now: clockNow }) {
  const [told, setTold] = useState(null);
  const [error, setError] = useState(null);
  const [glance, setGlance] = useState(null);
  const [beat, setBeat] = useState(0);
  const language = useSignal(lang);
  const now = useNow(clockNow);
  const load = () => ask("run", { run: id }).then((one) => { setTold(one); setGlance(one.glance); setError(null); }, setError);
  useEffect(() => {
    let timer = null;
    load();
    const stop = follow({ run: id }, (kind, news) => {
      if (kind === "gone") { setError(new Error(t("run_gone"))); return; }
      setGlance(news.glance);
      setBeat((was) => was + 1);
      if (news.marks && !timer) timer = setTimeout(() => { timer = null; load(); }, 150);
    });
    // The title tells of an incident even where nobody looks.
    const aside = setInterval(() => {
      if (document.hidden) ask("runs").then((all) => { const one = all.runs.find((other) => other.id === id); if (one) setGlance(one); }).catch(() => {});
    }, 15_000);
    return () => { stop(); clearTimeout(timer); clearInterval(aside); };
  }, [id, language]);
  useEffect(() => { document.title = `${glance?.open.length ? "\u25b2 " : ""}${id} \u00b7 steadytrain`; }, [id, glance]);
  const page = parts[0] ?? "curves";
  const go = (name) => { location.hash = address(name === "curves" ? ["run", id] : ["run", id, name]); };
  const ids = told?.marks.incidents.map((one) => one.id) ?? [];
  const step = (by) => {
    if (!ids.length) return;
    const at = page === "incident" ? ids.indexOf(parts[1]) + by : by > 0 ? 0 : ids.length - 1;
    if (ids[at]) location.hash = address(["run", id, "incident", ids[at]]);
  };
  useKeys({ ...Object.fromEntries(PAGES.map((name, at) => [String(at + 2), () => go(name)])), 1: () => { location.hash = "#/"; }, j: () => step(1), k: () => step(-1) });
  if (!told || !glance) return error ? html`<${Problem} error=${error} />` : html`<${Empty}>${t("loading")}<//>`;
  const shared = { id, told, glance, now, beat, mayChange, runs, reload: load };
  return html`<div class="run">
    <div class="status card"><div class="who"><h1>${id}${glance.name !== id.split("/").pop() && html` <span class="soft">${glance.name}</span>`}</h1><${State} one=${glance} now=${now} />
      ${glance.open.map((one) => html`<a class="chip warn" href=${address(["run", id, "incident", one.id])}>${one.id}${one.cause && html`: ${one.cause[language]}`}</a>`)}</div>
      <${Facts} one=${glance} now=${now} /></div>
    <${Problem} error=${error} />
    ${glance.problem && html`<p class="problem">${glance.problem}</p>`}
    ${told.bad.length > 0 && html`<p class="problem">${t("bad_lines", { n: glance.bad_lines })}: ${told.bad[0].file}: ${told.bad[0].why}</p>`}
    ${page === "incidents" ? html`<${Incidents} ...${shared} />`
      : page === "incident" ? html`<${IncidentPage} key=${parts[1]} ...${shared} name=${parts[1]} />`
      : page === "perplexity" ? html`<${Perplexity} ...${shared} />`
      : page === "machines" ? html`<${Machines} ...${shared} />`
      : page === "data" ? html`<${Data} ...${shared} />`
      : html`<${Curves} ...${shared} />`}
  </div>`;
}

// What a page asks for: axis, window, smoothing; kept in the address, so that it can be sent on.
export function useView() {
  const { query } = useSignal(route);
  const axis = ["step", "tokens", "time"].includes(query.axis) ? query.axis : kept("axis", "step");
  const span = Number(query.span ?? kept("span", "0")) || 0;
  const zoom = query.first && query.last ? [Number(query.first), Number(query.last)] : null;
  return {
    axis, span, zoom: zoom && zoom.every(Number.isFinite) && zoom[1] > zoom[0] ? zoom : null,
    last: Number(query.tail) || 0,
    isLog: (query.log ?? kept("log", "0")) === "1",
    isTrimmed: (query.trim ?? kept("trim", "0")) === "1",
    isOverlay: (query.overlay ?? kept("overlay", "0")) === "1",
    others: (query.with ?? "").split("\x1f").filter(Boolean).slice(0, 3),
    set(change) {
      for (const [name, value] of Object.entries(change)) if (["axis", "span", "log", "trim", "overlay"].includes(name)) keep(name, value);
      requery(change);
    },
  };
}

// Arrays of a window, asked again as the run grows, at most once a second.
export function useCurves(id, names, view, beat, columns, withHeat = true) {
  const [state, set] = useState(null);
  const asked = useRef({ at: 0, timer: null, stop: null });
  const wanted = view.zoom ? { first: view.zoom[0], last: view.zoom[1] } : {};
  const key = JSON.stringify([id, names, view.axis, wanted, view.span, columns, view.last]);
  useEffect(() => {
    if (!columns) return undefined;
    const one = asked.current;
    const fetchNow = async () => {
      one.timer = null;
      one.at = performance.now();
      one.stop?.abort();
      const stop = (one.stop = new AbortController());
      const window = { axis: view.axis, columns, span: view.span || null, ...wanted };
      try {
        const [series, heat, ...others] = await Promise.all([
          askSeries(id, names, window, { signal: stop.signal }),
          withHeat ? askArrays("heat", { run: id, ...window }, { signal: stop.signal }) : null,
          ...view.others.map((other) => askSeries(other, names, window, { signal: stop.signal }).catch(() => null)),
        ]);
        set({ series, heat, others: others.map((found, at) => ({ id: view.others[at], ...found })).filter((found) => found.x), key, axis: view.axis });
      } catch (error) {
        if (error.name !== "AbortError") set((was) => (was ? { ...was, error } : { error }));
      }
    };
    const isNew = state?.key !== key;
    const wait = isNew ? 0 : Math.max(0, 1000 - (performance.now() - one.at));
    clearTimeout(one.timer);
    if (!document.hidden || isNew) one.timer = setTimeout(fetchNow, wait);
    return undefined;
  }, [key, beat, view.others.join()]);
  useEffect(() => () => { clearTimeout(asked.current.timer); asked.current.stop?.abort(); }, []);
  return state;
}

export function rangeOf(view, series) {
  if (view.zoom) return view.zoom;
  const [first, last] = series?.extent ?? [0, 1];
  return [first, last > first ? last : first + 1];
}

function Curves({ id, told, glance, now, beat, mayChange, runs, reload }) {
  const view = useView();
  const domains = glance.domains;
  const names = useMemo(() => ["loss", ...domains.map((one) => `loss:${one}`), ...OTHER], [domains.join()]);
  const [columns, box] = useColumns();
  const found = useCurves(id, names, view, beat, columns);
  const series = found?.series;
  const range = rangeOf(view, series);
  const zoom = (to) => view.set({ first: to ? trimmed(to[0], view.axis) : null, last: to ? trimmed(to[1], view.axis) : null });
  const scale = (factor, shift = 0) => {
    const [a, b] = range, middle = (a + b) / 2 + shift * (b - a), half = ((b - a) / 2) * factor;
    zoom([middle - half, middle + half]);
  };
  const spans = ["0", "10", "50", "200", "1000"];
  useKeys({
    x: () => view.set({ axis: { step: "tokens", tokens: "time", time: "step" }[view.axis], first: null, last: null }),
    l: () => view.set({ log: view.isLog ? "0" : "1" }), y: () => view.set({ trim: view.isTrimmed ? "0" : "1" }), o: () => view.set({ overlay: view.isOverlay ? "0" : "1" }),
    s: () => view.set({ span: spans[(spans.indexOf(String(view.span)) + 1) % spans.length] }),
    0: () => zoom(null), "+": () => scale(0.5), "=": () => scale(0.5), "-": () => scale(2), ArrowLeft: () => scale(1, -0.25), ArrowRight: () => scale(1, 0.25),
  });
  const open = (name) => address(["run", id, "incident", name]);
  const at = (mark) => (view.axis === "time" ? mark.time : view.axis === "tokens" ? mark.tokens : mark.x);
  const shades = told.marks.incidents.map((one) => ({ from: at(one), to: one.until ? at(one.until) : null, tone: one.state === "open" ? "warn" : "plain" }));
  const common = { x: series?.x ?? [], axis: view.axis, range, stride: series?.stride ?? 1, isTrimmed: view.isTrimmed, onZoom: zoom, spans: shades, held: series?.held };
  const lineOf = (index, label, paint) => ({
    name: names[index], label, colour: paint, raw: series.raw[index], soft: series.soft?.[index] ?? null, odd: series.odd[index],
  });
  const around = (indices, paints) => ({
    branches: series.branches.map((one) => ({ x: one.x, lines: indices.map((index, n) => ({ values: one.ys[index], colour: paints[n] })) })),
    others: found.others.map((one) => ({ x: one.x, lines: indices.map((index, n) => ({ values: (one.soft ?? one.raw)[index], colour: indices.length > 1 ? paints[n] : colour("other") })) })),
  });
  const ink = colour("ink2");
  // The steep beginning may leave the picture at the top, marked by a caret; nothing later may.
  const settled = !view.zoom && series?.rows > 40 ? range[0] + 0.05 * (range[1] - range[0]) : null;
  const loss = series && html`<${Plot} ...${common} settled=${settled} ...${around([0], [ink])} title=${t("loss_total")} unit=${t("unit_loss")} height=${200} isLog=${view.isLog} lines=${[lineOf(0, "", ink)]} format=${(v) => fixed(v, 4)} />`;
  const paints = domains.map((_, n) => domainColour(n));
  const overlay = series && html`<${Plot} ...${common} settled=${settled} ...${around(domains.map((_, n) => n + 1), paints)} title=${t("loss_domains")} unit=${t("unit_loss")} height=${300} isLog=${view.isLog} lines=${domains.map((name, n) => lineOf(n + 1, name, paints[n]))} format=${(v) => fixed(v, 3)} />`;
  const small = series && domains.map((name, n) => html`<${Plot} key=${name} ...${common} settled=${settled} ...${around([n + 1], [paints[n]])} title=${name} height=${150} isLog=${view.isLog} lines=${[lineOf(n + 1, "", paints[n])]} format=${(v) => fixed(v, 4)} />`);
  const k = domains.length + 1;
  const isPlanned = series && !differs(series.raw[k + 1], series.raw[k + 2]);
  const rest = series && [
    html`<${Plot} key="grad" ...${common} ...${around([k], [colour("d5")])} title=${t("grad_norm")} unit=${t("log")} height=${150} isLog lines=${[lineOf(k, "", colour("d5"))]} />`,
    html`<${Plot} key="lr" ...${common} branches=${[]} title=${t("lr")} height=${150} lines=${[{ ...lineOf(k + 1, isPlanned ? "" : t("used"), colour("d3")), soft: null }, ...(!isPlanned ? [{ ...lineOf(k + 2, t("planned"), colour("soft")), soft: null, dash: [4, 3] }] : [])]} floor=${0} format=${(v) => number(v, 3)} />`,
    html`<${Plot} key="speed" ...${common} branches=${[]} title=${t("speed")} unit=${t("unit_speed")} height=${150} isTrimmed=${true} lines=${[lineOf(k + 3, "", colour("d2"))]} floor=${0} format=${compact} yLabel=${compact} />`,
    html`<${Plot} key="update" ...${common} ...${around([k + 4], [colour("d4")])} title=${t("update")} unit=${t("log")} height=${150} isLog lines=${[lineOf(k + 4, "", colour("d4"))]} />`,
  ];
  return html`<div class="curves">
    <div class="charts" ref=${box}>
      <${Tools} view=${view} zoom=${zoom} scale=${scale} series=${series} range=${range} runs=${runs} id=${id} glance=${glance} />
      <div class="card events"><${Lane} marks=${told.marks} axis=${view.axis} range=${range} open=${open} />
        <${Heat} data=${found?.heat} axis=${view.axis} range=${range} /></div>
      ${found?.error && html`<${Problem} error=${found.error} />`}
      ${!series ? html`<${Empty}>${t("loading")}<//>` : !series.rows ? html`<${Empty}>${t("no_steps")}<//>` : html`
      ${view.others.length > 0 && html`<${Compared} found=${found} domains=${domains} names=${names} />`}
      ${view.isOverlay ? html`<div class="card">${overlay}</div>` : html`<div class="card">${loss}</div><div class="grid" style=${tiles(domains.length, columns)}>${small.map((one) => html`<div class="card">${one}</div>`)}</div>`}
      <div class="grid" style=${tiles(rest.length, columns)}>${rest.map((one) => html`<div class="card">${one}</div>`)}</div>
      <p class="legend">${t("legend")}</p>`}
    </div>
    <${Side} id=${id} told=${told} glance=${glance} now=${now} mayChange=${mayChange} reload=${reload} />
  </div>`;
}

// As many columns as leave few holes, none narrower than 250 pixels.
function tiles(count, width) {
  const most = Math.max(1, Math.min(count, 4, Math.floor((width + 90) / 250)));
  const holes = (columns) => Math.ceil(count / columns) * columns - count;
  let best = most;
  for (let columns = most; columns >= Math.max(1, most - 1); columns--) if (holes(columns) < holes(best)) best = columns;
  return `grid-template-columns:repeat(${best},minmax(0,1fr))`;
}

function trimmed(value, axis) {
  return axis === "step" ? Math.round(value) : axis === "tokens" ? Math.round(value) : value.toFixed(3);
}

function differs(a, b) {
  for (let i = 0; i < a.length; i++) {
    if (Number.isFinite(a[i]) && Number.isFinite(b[i]) && Math.abs(a[i] - b[i]) > 1e-6 * Math.abs(b[i])) return true;
  }
  return false;
}

export function useColumns() {
  const box = useRef(null);
  const [columns, set] = useState(0);
  useEffect(() => {
    const look = () => set(Math.max(60, Math.round(((box.current?.clientWidth ?? 0) - 90) / 50) * 50));
    const watch = new ResizeObserver(look);
    if (box.current) watch.observe(box.current);
    look();
    return () => watch.disconnect();
  }, []);
  return [columns, box];
}

function Tools({ view, zoom, scale, series, range, runs, id, glance }) {
  const others = runs.filter((one) => one.id !== id && !view.others.includes(one.id) && one.tokens > 0);
  return html`<div class="tools" role="toolbar" aria-label=${t("tools")}>
    <${Segments} label=${t("axis")} value=${view.axis} options=${[["step", t("axis_step")], ["tokens", t("axis_tokens")], ["time", t("axis_time")]]} onPick=${(axis) => view.set({ axis, first: null, last: null })} />
    <label class="pick"><span>${t("smooth")}</span><select value=${String(view.span)} onChange=${(event) => view.set({ span: event.target.value })}>
      ${["0", "10", "50", "200", "1000"].map((one) => html`<option value=${one}>${one === "0" ? t("off") : whole(Number(one))}</option>`)}</select></label>
    <button aria-pressed=${String(view.isLog)} onClick=${() => view.set({ log: view.isLog ? "0" : "1" })}>${t("log_scale")}</button>
    <button aria-pressed=${String(view.isTrimmed)} title=${t("trim_help")} onClick=${() => view.set({ trim: view.isTrimmed ? "0" : "1" })}>${t("trim")}</button>
    <${Segments} label=${t("domains")} value=${view.isOverlay ? "1" : "0"} options=${[["0", t("apart")], ["1", t("overlay")]]} onPick=${(overlay) => view.set({ overlay })} />
    ${(others.length > 0 || view.others.length > 0) && html`<label class="pick"><span>${t("compare")}</span><select value="" onChange=${(event) => view.set({ with: [...view.others, event.target.value].join("\x1f") })}>
      <option value="">+</option>${others.map((one) => html`<option value=${one.id}>${one.id}</option>`)}</select></label>`}
    ${view.others.map((one) => html`<button class="chip" aria-label=${t("take_away", { name: one })} onClick=${() => view.set({ with: view.others.filter((other) => other !== one).join("\x1f") })}>${one} \u00d7</button>`)}
    <span class="grow"></span>
    <span class="soft stride">${series && series.stride > 1 ? t("stride", { n: whole(series.stride) }) : series?.rows ? t("every_step") : ""}</span>
    <span class="zooms">
      <button class="icon" aria-label=${t("pan_left")} title=${t("pan_left")} disabled=${!view.zoom} onClick=${() => scale(1, -0.25)}>\u2190</button>
      <button class="icon" aria-label=${t("zoom_out")} title=${t("zoom_out")} disabled=${!view.zoom} onClick=${() => scale(2)}>\u2212</button>
      <button class="icon" aria-label=${t("zoom_in")} title=${t("zoom_in")} onClick=${() => scale(0.5)}>+</button>
      <button class="icon" aria-label=${t("pan_right")} title=${t("pan_right")} disabled=${!view.zoom} onClick=${() => scale(1, 0.25)}>\u2192</button>
      <button disabled=${!view.zoom} onClick=${() => zoom(null)}>${t("reset")}</button></span>
  </div>`;
}

// Two runs at the newest step that both have: smoothed, so that one odd batch decides nothing.
function Compared({ found, domains, names }) {
  const own = found.series;
  const rows = found.others.map((other) => {
    const last = Math.min(own.x[own.x.length - 1], other.x[other.x.length - 1]);
    const mean = (one, index) => {
      let sum = 0, count = 0;
      const width = (last - one.x[0]) * 0.02;
      for (let i = 0; i < one.x.length; i++) if (one.x[i] <= last && one.x[i] >= last - width && Number.isFinite(one.raw[index][i])) { sum += one.raw[index][i]; count += 1; }
      return count ? sum / count : NaN;
    };
    return { id: other.id, last, cells: names.slice(0, domains.length + 1).map((_, index) => [mean(own, index), mean(other, index)]) };
  });
  return html`<div class="card table" tabindex="0" role="region" aria-label=${t("compare")}><table class="compared"><thead><tr><th>${t("compared_with")}</th><th>${t("at")}</th><th class="n">${t("total")}</th>${domains.map((one) => html`<th class="n">${one}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr><th scope="row"><i class="dash"></i>${row.id}</th><td>${found.axis === "time" ? clock(row.last) : whole(row.last)}</td>
    ${row.cells.map(([a, b]) => html`<td class="n" title=${`${fixed(a, 4)} / ${fixed(b, 4)}`}>${fixed(b, 3)} <span class=${a <= b ? "good" : "bad"}>${signed(100 * (a / b - 1), 2)}\u2009%</span></td>`)}</tr>`)}</tbody></table></div>`;
}

