// All runs: the health of each in one glance.
import { html, useEffect, useMemo, useRef, useState, address, isDark, useSignal } from "./lib.js";
import { t, lang } from "./words.js";
import { compact, duration, fixed, whole, ago, NONE } from "./format.js";
import { State, Goodput, Progress, Checkpoint, Empty, stateOf, TONES, useNow } from "./parts.js";
import { useKeys } from "./keys.js";

const ORDER = { bad: 0, warn: 1, good: 2, plain: 3 };

export function Runs({ runs, now: clockNow }) {
  const now = useNow(clockNow);
  const [filter, setFilter] = useState("");
  const box = useRef(null);
  useEffect(() => { document.title = "steadytrain"; }, []);
  useKeys({ "/": () => box.current?.focus() });
  const shown = useMemo(() => {
    const found = (runs ?? []).filter((one) => matches(one, filter));
    return found.sort((a, b) => ORDER[TONES[stateOf(a, now)]] - ORDER[TONES[stateOf(b, now)]] || (b.last_at ?? 0) - (a.last_at ?? 0));
  }, [runs, filter, Math.floor(now / 5)]);
  if (!runs) return html`<${Empty}>${t("loading")}<//>`;
  const open = runs.reduce((sum, one) => sum + one.open.length, 0);
  const waits = runs.reduce((sum, one) => sum + one.waits, 0);
  const moving = runs.filter((one) => ["training", "incident", "waiting", "unguarded"].includes(stateOf(one, now))).length;
  return html`<section class="runs">
    <div class="headline"><h1>${t("headline", { runs: whole(runs.length), moving: whole(moving) })}
      ${open > 0 && html`<span class="warn">${t("headline_open", { n: open })}</span>`}
      ${waits > 0 && html`<span class="warn">${t("headline_waits", { n: waits })}</span>`}</h1>
      ${runs.length > 3 && html`<input ref=${box} type="search" class="filter" placeholder=${t("filter")} aria-label=${t("filter")} value=${filter} onInput=${(event) => setFilter(event.target.value)} />`}
    </div>
    ${!runs.length && html`<${Empty}>${t("no_runs")}<//>`}
    ${runs.length > 0 && html`<div class="card table" tabindex="0" role="region" aria-label=${t("all_runs")}><table>
      <thead><tr>${["run", "state", "curve", "step", "loss", "tokens", "speed", "eta", "goodput", "incidents", "checkpoint", "last"].map((name) => html`<th class=${`c-${name}`}>${t(`col_${name}`)}</th>`)}</tr></thead>
      <tbody>${shown.map((one) => html`<${Row} key=${one.id} one=${one} now=${now} />`)}</tbody></table></div>`}
    ${runs.length > 0 && !shown.length && html`<${Empty}>${t("no_match")}<//>`}
  </section>`;
}

function matches(one, filter) {
  if (!filter) return true;
  try { return new RegExp(filter, "i").test(`${one.id} ${one.name} ${one.state} ${one.domains.join(" ")}`); } catch { return one.id.includes(filter); }
}

function Row({ one, now }) {
  const language = useSignal(lang);
  const to = address(["run", one.id]);
  const cause = one.open.find((open) => open.cause)?.cause?.[language];
  return html`<tr onClick=${(event) => { if (!event.target.closest("a")) location.hash = to; }}>
    <th scope="row" class="c-run"><a href=${to}>${one.id}</a>${one.name !== one.id.split("/").pop() && html`<span class="soft"> ${one.name}</span>`}
      <span class="under soft">${one.parameters != null && html`${compact(one.parameters)} ${t("parameters")} \u00b7 `}${one.domains.join(" ")}</span></th>
    <td class="c-state"><${State} one=${one} now=${now} />${one.problem && html`<span class="under bad">${one.problem}</span>`}${one.bad_lines > 0 && html`<span class="under bad">${t("bad_lines", { n: one.bad_lines })}</span>`}</td>
    <td class="c-curve"><${Spark} spark=${one.spark} flags=${one.spark_flags} /></td>
    <td class="c-step"><${Progress} one=${one} /></td>
    <td class="c-loss n" data-label=${t("col_loss")}>${fixed(one.loss)}</td>
    <td class="c-tokens n">${one.tokens ? compact(one.tokens) : NONE}</td>
    <td class="c-speed n">${one.tokens_per_second ? html`${compact(one.tokens_per_second)}<span class="soft"> ${t("unit_speed")}</span>` : NONE}</td>
    <td class="c-eta n" data-label=${t("col_eta")}>${one.state === "ended" ? NONE : duration(one.eta_seconds)}</td>
    <td class="c-goodput"><${Goodput} account=${one.account} /></td>
    <td class="c-incidents">${incidents(one, cause)}</td>
    <td class="c-checkpoint" data-label=${t("col_checkpoint")}><${Checkpoint} one=${one} now=${now} /></td>
    <td class="c-last n soft">${ago(one.last_at, now)}</td></tr>`;
}

function incidents(one, cause) {
  if (!one.incidents) return html`<span class="soft">${t("none")}</span>`;
  return html`${one.open.length > 0 && html`<a class="warn" href=${address(["run", one.id, "incident", one.open[0].id])}><b>${t("open_n", { n: one.open.length })}</b>${cause && html`<span class="under">${cause}</span>`}</a> `}
    <span class="soft">${t("cured_n", { cured: one.cured, all: one.incidents })}</span>`;
}

// The loss from the first step to the last: the lowest and highest of each stretch.
function Spark({ spark, flags }) {
  const dark = useSignal(isDark);
  const box = useRef(null);
  const width = 132, height = 30;
  useEffect(() => {
    if (!spark || !box.current) return;
    const ratio = devicePixelRatio || 1, ctx = box.current.getContext("2d");
    box.current.width = width * ratio;
    box.current.height = height * ratio;
    ctx.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement);
    const all = [...spark.low, ...spark.high].filter((one) => one != null).sort((a, b) => a - b);
    if (!all.length) return;
    const low = all[0], high = Math.max(all[Math.floor(0.96 * (all.length - 1))], low + 1e-9);
    const y = (value) => height - 3 - Math.min(1.05, (value - low) / (high - low)) * (height - 6);
    const x = (i) => 1 + (i / Math.max(1, spark.low.length - 1)) * (width - 2);
    for (const flag of flags ?? []) {
      const at = 1 + ((flag - spark.first) / Math.max(1, spark.last - spark.first)) * (width - 2);
      ctx.fillStyle = style.getPropertyValue("--wash-warn");
      ctx.fillRect(at - 1.5, 0, 3, height);
    }
    ctx.fillStyle = style.getPropertyValue("--faint");
    ctx.strokeStyle = style.getPropertyValue("--ink2");
    ctx.lineWidth = 1.3;
    ctx.lineJoin = "round";
    const known = spark.low.map((value, i) => i).filter((i) => spark.low[i] != null);
    ctx.globalAlpha = 0.55;
    ctx.beginPath();
    known.forEach((i) => ctx.lineTo(x(i), y(spark.high[i])));
    [...known].reverse().forEach((i) => ctx.lineTo(x(i), y(spark.low[i]) + 0.5));
    ctx.fill();
    ctx.globalAlpha = 1;
    ctx.beginPath();
    known.forEach((i) => ctx.lineTo(x(i), y((spark.low[i] + spark.high[i]) / 2)));
    ctx.stroke();
  }, [spark, dark]);
  return html`<canvas class="spark" ref=${box} style=${`width:${width}px;height:${height}px`} aria-hidden="true"></canvas>`;
}
