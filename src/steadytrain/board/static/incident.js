// Incidents: the list, and the story of one.
import { html, useEffect, useMemo, useState, useSignal, address } from "./lib.js";
import { ask, useAsked } from "./net.js";
import { lang, t } from "./words.js";
import { whole, fixed, number, percent, signed, duration, clock, NONE } from "./format.js";
import { Problem, Empty, Bar } from "./parts.js";
import { Plot, domainColour, colour } from "./plot.js";
import { useColumns, useCurves, rangeOf } from "./run.js";
import { Case, Feed } from "./side.js";
import { Proposals, Order } from "./say.js";

export function Incidents({ id, told }) {
  const language = useSignal(lang);
  const found = [...told.marks.incidents].reverse();
  const remedies = (name) => told.marks.remedies.filter((one) => one.incident === name);
  if (!found.length) return html`<div class="card"><${Empty}>${t("all_calm")}<//></div>`;
  return html`<div class="card table" tabindex="0" role="region" aria-label=${t("incidents")}><table class="caselist"><thead><tr>
    ${["incident", "step", "cause", "signals", "remedy", "outcome", "lasted"].map((one) => html`<th>${t(`col_${one}`)}</th>`)}</tr></thead>
    <tbody>${found.map((one) => html`<tr onClick=${(event) => { if (!event.target.closest("a")) location.hash = address(["run", id, "incident", one.id]); }}>
      <th scope="row"><a href=${address(["run", id, "incident", one.id])}>${one.id}</a></th><td class="n">${whole(one.x)}</td>
      <td><b>${one.cause ? one.cause[language] : t("not_examined")}</b></td><td class="soft">${one.signals[language].slice(0, 4).join(t("comma"))}${one.signals[language].length > 4 ? ` +${one.signals[language].length - 4}` : ""}</td>
      <td>${remedies(one.id).map((remedy) => html`<div>${remedy.plan[language]}</div>`)}</td>
      <td><b class=${one.state === "cured" ? "good" : one.state === "open" ? "warn" : ""}>${t(`outcome_${one.state}`)}</b></td>
      <td class="n soft">${one.until ? t("steps_n", { n: whole(Math.max(0, one.until.x - one.x)) }) : NONE}</td></tr>`)}</tbody></table></div>`;
}

export function IncidentPage({ id, name, told, glance, beat, mayChange, reload }) {
  const language = useSignal(lang);
  const version = told.lines.length ? told.lines[told.lines.length - 1].n : 0;
  const { data, error } = useAsked((stop) => ask("incident", { run: id, id: name }, stop), [id, name, language, version]);
  if (!data) return error ? html`<${Problem} error=${error} />` : html`<${Empty}>${t("loading")}<//>`;
  const newest = data.diagnoses[data.diagnoses.length - 1];
  const top = newest?.causes[0];
  const done = data.remedies.filter((one) => one.state !== "proposed");
  return html`<article class="incident">
    <header class="card head ${data.state === "cured" ? "good" : data.state === "open" ? "warn" : ""}">
      <div class="titles"><h2>${top ? top.words : t("not_examined")}</h2><span class="verdict ${data.state === "cured" ? "good" : data.state === "closed" ? "" : "warn"}">${t(`outcome_${data.state.replace(" ", "_")}`)}</span>
        <span class="grow"></span><nav class="walk" aria-label=${t("incidents")}>
        <a aria-label=${t("before_one")} class=${data.before ? "" : "off"} href=${data.before ? address(["run", id, "incident", data.before]) : null}>\u2190</a><span class="soft">${data.id}</span>
        <a aria-label=${t("after_one")} class=${data.after ? "" : "off"} href=${data.after ? address(["run", id, "incident", data.after]) : null}>\u2192</a></nav></div>
      <${Chain} data=${data} top=${top} />
    </header>
    <div class="two">
      <div class="left">
        <${Focus} id=${id} data=${data} glance=${glance} beat=${beat} />
        ${newest && html`<section class="card"><h2>${t("causes")}${data.diagnoses.length > 1 && html` <span class="soft">${t("revised", { n: data.diagnoses.length - 1 })}</span>`}</h2>
          <div class="causes">${newest.causes.map((cause, at) => html`<${Cause} key=${cause.words} cause=${cause} isFirst=${at === 0} />`)}</div></section>`}
        ${data.examined.map((one) => html`<${Examined} key=${one.n} id=${id} one=${one} />`)}
      </div>
      <div class="right">
        <${Proposals} id=${id} standing=${told.standing} mayChange=${mayChange} reload=${reload} only=${name} />
        ${done.length > 0 && html`<section class="card"><h2>${t("done_about")}</h2>${done.map((one) => html`<${Remedy} key=${one.id} one=${one} />`)}</section>`}
        ${data.trials.length > 0 && html`<section class="card"><h2>${t("tried")}</h2><ul class="trials">${data.trials.map((one) => html`<li><b>${one.plan}</b><span class="soft">${one.losses.map((v) => fixed(v)).join(" ")}${one.control != null ? ` \u00b7 ${t("control")} ${fixed(one.control)}` : ""}</span></li>`)}</ul></section>`}
        ${mayChange && !told.standing.ended && told.standing.open.includes(name) && html`<section class="card"><h2>${t("order_title")}</h2><${Order} id=${id} standing=${told.standing} reload=${reload} incident=${name} /></section>`}
        <section class="card feed"><h2>${t("story")}</h2><${Feed} lines=${data.story} isStory /></section>
      </div>
    </div></article>`;
}

// Alarm, diagnosis, remedy, outcome in one line.
function Chain({ data, top }) {
  const remedy = data.remedies[data.remedies.length - 1];
  const steps = [
    [t("chain_alarm"), html`<b>${t("step_n", { n: whole(data.onset) })}</b>`, data.signals.slice(0, 3).map((one) => one.words).join(t("comma")) + (data.signals.length > 3 ? ` +${data.signals.length - 3}` : "")],
    [t("chain_diagnosis"), top ? html`<b>${percent(top.confidence)}</b> ${t("sure")}` : NONE, top?.for[0] ?? ""],
    [t("chain_remedy"), remedy ? html`<b>${remedy.plan}</b>` : NONE, remedy?.why ?? ""],
    [t("chain_outcome"), remedy?.outcome ? html`<b class=${remedy.outcome.result === "cured" ? "good" : "bad"}>${remedy.outcome.words}</b> ${t("after_steps", { n: remedy.outcome.steps })}` : data.closed ? data.closed.reason : t("outcome_open"), remedy?.outcome?.why ?? ""],
  ];
  return html`<ol class="chain">${steps.map(([name, value, under]) => html`<li><span class="soft">${name}</span><span>${value}</span>${under && html`<small>${under}</small>`}</li>`)}</ol>`;
}

function Focus({ id, data, glance, beat }) {
  const [columns, box] = useColumns();
  const end = data.closed?.step ?? Math.max(glance.step, data.onset + 20);
  const around = Math.max(24, Math.round(0.6 * (end - data.onset)));
  const [zoom, setZoom] = useState(null);
  const view = { axis: "step", span: 0, zoom: zoom ?? [Math.max(1, data.onset - around), end + (data.closed ? around : Math.ceil(0.1 * around))], others: [], last: 0 };
  const touched = glance.domains.filter((one) => data.signals.some((signal) => signal.name === `loss:${one}` || signal.name === `text:${one}`));
  const domains = touched.length ? touched : glance.domains.slice(0, 4);
  const names = useMemo(() => [...(touched.length ? [] : ["loss"]), ...domains.map((one) => `loss:${one}`), "grad_norm"], [domains.join()]);
  const found = useCurves(id, names, view, data.closed ? 0 : beat, columns, false);
  const series = found?.series;
  const range = rangeOf(view, series);
  const pins = [{ x: data.onset, label: t("onset"), tone: "warn" }];
  for (const one of data.remedies) if (one.deed) pins.push({ x: Math.max(one.deed.step, range[0]), label: one.id.replace("remedy-", "R"), tone: "act" });
  if (data.closed) pins.push({ x: data.closed.step, label: t("closed"), tone: data.state === "cured" ? "good" : "soft" });
  const paint = (name) => (name === "loss" ? colour("ink2") : domainColour(glance.domains.indexOf(name.slice(5))));
  const common = series && { x: series.x, axis: "step", range, stride: series.stride, held: series.held, pins, onZoom: setZoom, isWhole: true };
  const lines = series && names.slice(0, -1).map((name, n) => ({ name, label: name === "loss" ? t("total") : name.slice(5), colour: paint(name), raw: series.raw[n], odd: series.odd[n] }));
  const branch = (indices, paints) => series.branches.map((one) => ({ x: one.x, lines: indices.map((index, n) => ({ values: one.ys[index], colour: paints[n] })) }));
  return html`<section class="card focus" ref=${box}>${!series ? html`<${Empty}>${t("loading")}<//>` : html`
    <${Plot} ...${common} title=${t("loss_title")} unit=${t("unit_loss")} height=${210} lines=${lines} branches=${branch(lines.map((_, n) => n), lines.map((one) => one.colour))} format=${(v) => fixed(v, 3)} />
    <${Plot} ...${common} pins=${pins.map((one) => ({ ...one, label: "" }))} title=${t("grad_norm")} unit=${t("log")} height=${110} isLog lines=${[{ name: "grad_norm", label: "", colour: colour("d5"), raw: series.raw[names.length - 1], odd: series.odd[names.length - 1] }]} branches=${branch([names.length - 1], [colour("d5")])} />
    <p class="legend">${t("legend_focus")}</p>`}</section>`;
}

function Cause({ cause, isFirst }) {
  return html`<details class="cause" open=${isFirst}><summary><b>${cause.words}</b><${Bar} share=${cause.confidence} tone=${isFirst ? "act" : "faint"} /><span class="n">${percent(cause.confidence)}</span></summary>
    <ul>${cause.for.map((one) => html`<li class="for">${one}</li>`)}${cause.against.map((one) => html`<li class="against">${one}</li>`)}</ul>
    ${cause.refuted_by && html`<p class="soft">${t("refuted_by")}: ${cause.refuted_by}</p>`}</details>`;
}

function Remedy({ one }) {
  const panel = one.outcome?.panel.filter((row) => row[1] != null && row[2] != null) ?? [];
  return html`<div class="remedy-card"><div class="line"><b>${one.plan}</b></div>
    <p class="soft">${one.id} \u00b7 ${t(`state_${one.state.replace(" ", "_")}`)}${one.deed?.restored != null && html` \u00b7 ${t("restored", { step: whole(one.deed.restored) })} (${one.deed.source}, ${duration(one.deed.seconds)})`}</p>
    ${one.outcome && html`<table class="mini"><thead><tr><td></td><th class="n">${t("before_it")}</th><th class="n">${t("at_worst")}</th><th class="n">${t("after_it")}</th></tr></thead>
      <tbody><tr><th scope="row">${t("loss")}</th>${one.outcome.losses.map((v) => html`<td class="n">${fixed(v)}</td>`)}</tr>
      ${panel.map(([name, before, after]) => html`<tr><th scope="row">${t("panel_of", { name })}</th><td class="n">${fixed(Math.exp(before), 2)}</td><td class="n"></td><td class="n">${fixed(Math.exp(after), 2)} <span class=${after <= before ? "good" : "bad"}>${signed(100 * (Math.exp(after - before) - 1), 1)}\u2009%</span></td></tr>`)}</tbody></table>`}
    ${one.order && html`<details><summary>${t("as_order")}</summary><code class="wrap">${one.order}</code></details>`}</div>`;
}

const SHOWN = 8;

function Examined({ id, one }) {
  const [isAll, setAll] = useState(false);
  const { data, error } = useAsked((stop) => (one.has_texts ? ask("texts", { run: id, n: one.n }, stop) : Promise.resolve({ sequences: [] })), [id, one.n]);
  const found = data?.sequences ?? [];
  const suspects = found.filter((seq) => seq.role !== "control"), controls = found.filter((seq) => seq.role === "control");
  const rows = [["suspect", one.losses.suspect], ["control", one.losses.control]].filter(([, pair]) => pair.some((v) => v != null));
  return html`<section class="card examined"><h2>${t("evidence")} <span class="soft">${t("at_step", { step: whole(one.step) })} \u00b7 ${t("corrupt_of", { n: one.corrupt, all: one.sequences })}${one.flagged ? ` \u00b7 ${t("flagged", { n: whole(one.flagged) })}` : ""}</span></h2>
    <div class="numbers">
    ${rows.length > 0 && html`<table class="mini"><thead><tr><th>${t("batch_loss")}</th><th class="n">${t("weights_of", { step: whole(one.before_step) })}</th><th class="n">${t("weights_then")}</th></tr></thead>
      <tbody>${rows.map(([name, pair]) => html`<tr><th scope="row">${t(`batch_${name}`)}</th>${pair.map((v) => html`<td class="n">${typeof v === "string" ? v : fixed(v)}</td>`)}</tr>`)}</tbody></table>`}
    ${Object.keys(one.numbers).length > 0 && html`<dl class="evidence">${Object.entries(one.numbers).map(([key, v]) => html`<div><dt>${t(`seen_${key}`)}</dt><dd>${key === "seconds" ? duration(v) : key.startsWith("repeated") || key.endsWith("lost") ? percent(v) : Number.isInteger(v) ? whole(v) : number(v, 3)}</dd></div>`)}</dl>`}
    ${one.sources.length > 0 && html`<div class="sources"><h3>${t("worst_sources")}</h3><ol>${one.sources.slice(0, 5).map(([name, count]) => html`<li><code>${name}</code> <span class="soft">${count}</span></li>`)}</ol></div>`}</div>
    <${Problem} error=${error} />
    ${suspects.length > 0 && html`<h3>${t("suspects")}</h3><div class="texts">${(isAll ? suspects : suspects.slice(0, SHOWN)).map((seq) => html`<${Passage} seq=${seq} />`)}</div>`}
    ${suspects.length > SHOWN && html`<button class="quiet" onClick=${() => setAll(!isAll)}>${isAll ? t("fewer") : t("all_n", { n: suspects.length })}</button>`}
    ${controls.length > 0 && html`<details><summary>${t("controls")} <span class="soft">${controls.length}</span></summary><div class="texts">${controls.map((seq) => html`<${Passage} seq=${seq} />`)}</div></details>`}
  </section>`;
}

// Text of the training data: only ever text nodes; what cannot be seen is spelled.
function Passage({ seq }) {
  return html`<figure class="passage ${seq.verdict === "corrupt" ? "corrupt" : ""}"><figcaption>
    <span class="row"><b>${seq.domain}</b><span>${t("draw")} ${whole(seq.draw)}</span><span>${t("loss")} ${fixed(seq.loss, 2)}</span><span>z ${signed(seq.z, 1)}</span>${seq.defect && html`<span class="bad">${seq.defect}</span>`}</span>
    ${seq.source && html`<code class="source">${seq.source}</code>`}${seq.evidence && html`<span class="soft">${seq.evidence}</span>`}</figcaption>
    <pre dir="ltr" tabindex="0" translate="no">${seq.pieces.map(([kind, text]) => (kind === "text" ? text : html`<span class=${kind}>${text}</span>`))}${seq.more > 0 && html`<span class="mark">+${whole(seq.more)}</span>`}</pre></figure>`;
}

