// The text: defects by domain, where corrupt sequences came, the worst sources, lints of corpora.
import { html, useSignal, address } from "./lib.js";
import { ask, useAsked } from "./net.js";
import { lang, t } from "./words.js";
import { whole, compact, percent, NONE } from "./format.js";
import { Problem, Empty, Bar } from "./parts.js";
import { domainColour } from "./plot.js";

export function Data({ id, told, glance, beat }) {
  const language = useSignal(lang);
  const { data, error } = useAsked((stop) => ask("data", { run: id }, stop), [id, language, told.lines.length, Math.floor(beat / 10)]);
  if (!data) return error ? html`<${Problem} error=${error} />` : html`<${Empty}>${t("loading")}<//>`;
  const kinds = [...new Set(data.domains.flatMap((one) => Object.keys(one.defects)))];
  return html`<div class="data">
    <section class="card table" tabindex="0" role="region" aria-label=${t("by_domain")}><h2>${t("by_domain")}</h2><table><thead><tr><th>${t("col_domain")}</th><th class="n">${t("col_tokens")}</th><th>${t("share")}</th><th class="n">${t("col_sequences")}</th><th class="n">${t("col_corrupt")}</th>${kinds.map((kind) => html`<th class="n">${kind}</th>`)}</tr></thead>
      <tbody>${data.domains.map((one, n) => html`<tr><th scope="row"><i class="dot" style=${`background:${domainColour(n)}`}></i>${one.name}</th><td class="n">${compact(one.tokens)}</td><td class="share"><${Bar} share=${one.share} tone="faint" /> ${percent(one.share, 1)}</td>
        <td class="n">${one.sequences == null ? NONE : whole(one.sequences)}</td><td class="n">${one.corrupt == null ? NONE : html`<b class=${one.corrupt ? "bad" : ""}>${whole(one.corrupt)}</b>${one.sequences ? html` <span class="soft">${percent(one.corrupt / one.sequences, 2)}</span>` : null}`}</td>
        ${kinds.map((kind) => html`<td class="n">${one.defects[kind] ? whole(one.defects[kind]) : html`<span class="soft">\u00b7</span>`}</td>`)}</tr>`)}</tbody></table>
      ${!data.has_ledger && html`<p class="legend">${t("no_ledger")}</p>`}</section>
    <section class="card"><h2>${t("corrupt_when")} <span class="soft">${t("steps_n", { n: whole(data.steps_with_corrupt) })}</span></h2><${When} points=${data.corrupt_by_step} /></section>
    <div class="grid fit">
      <section class="card"><h2>${t("worst_sources")}</h2>${!data.sources.length ? html`<p class="empty small">${t("no_sources")}</p>` : html`<table class="mini wide-table"><tbody>${data.sources.map((one) => html`<tr><td class="n"><b>${whole(one.count)}</b></td><td><code>${one.name}</code></td><td class="soft">${one.defect}</td><td><a href=${address(["run", id, "incident", one.incident])}>${one.incident}</a></td></tr>`)}</tbody></table>`}</section>
      <section class="card"><h2>${t("left_out")}</h2>${!data.left_out.length ? html`<p class="empty small">${t("nothing_left_out")}</p>` : html`<table class="mini wide-table"><tbody>${data.left_out.map((one) => html`<tr><td class="n"><b>${whole(one.sequences)}</b></td><td>${t("draws_between", { first: whole(one.first), last: whole(one.last) })}</td><td class="soft">${one.cause}</td><td><a href=${address(["run", id, "incident", one.incident])}>${one.remedy}</a></td></tr>`)}</tbody></table>`}</section>
    </div>
    <section class="card"><h2>${t("lints")}</h2>${!data.lints.length ? html`<p class="empty small">${t("no_lints")}</p>` : data.lints.map((one) => html`<${Lint} one=${one} />`)}</section>
  </div>`;
}

function When({ points }) {
  if (points.length < 2) return html`<p class="empty small">${t("nothing_yet")}</p>`;
  const first = points[0][0], last = points[points.length - 1][0], most = Math.max(1, ...points.map(([, n]) => n));
  const x = (step) => 4 + ((step - first) / Math.max(1, last - first)) * 992;
  return html`<svg class="whenchart" viewBox="0 0 1000 60" preserveAspectRatio="none" role="img" aria-label=${t("corrupt_when")}><path class="base" d="M0 52H1000" />
    ${points.filter(([, n]) => n).map(([step, n]) => html`<rect x=${x(step) - 1.5} y=${52 - (44 * n) / most} width="3" height=${(44 * n) / most}><title>${t("step_n", { n: step })}: ${n}</title></rect>`)}</svg><div class="ends soft"><span>${whole(first)}</span><span>${whole(last)}</span></div>`;
}

function Lint({ one }) {
  return html`<details class="lint" open><summary><b>${one.name}</b> <span class="soft">${whole(one.documents)} ${t("documents")} \u00b7 ${one.done ? t("lint_done") : t("goes_on")}</span> <span class=${one.corrupt ? "bad" : "good"}>${whole(one.corrupt)} ${t("corrupt")} (${percent(one.documents ? one.corrupt / one.documents : 0, 2)})</span></summary>
    <div class="grid"><div><h3>${t("classes")}</h3><table class="mini wide-table"><tbody>${Object.entries(one.classes).map(([kind, n]) => html`<tr><th scope="row">${kind}</th><td class="n">${whole(n)}</td><td><${Bar} share=${n / Math.max(1, one.corrupt)} tone="bad" /></td></tr>`)}</tbody></table></div>
    <div><h3>${t("worst_sources")}</h3><table class="mini wide-table"><tbody>${one.files.slice(0, 12).map((file) => html`<tr><td class="n"><b>${whole(file.corrupt)}</b><span class="soft">\u2009/\u2009${whole(file.documents)}</span></td><td><code>${file.name}</code></td></tr>`)}</tbody></table></div></div>
    ${one.examples.length > 0 && html`<details><summary>${t("examples")}</summary><ul class="examples">${one.examples.map((example) => html`<li><b>${example.class}</b> <code>${example.source}</code> <span class="soft">${example.evidence}</span><pre dir="ltr" translate="no">${visible(example.excerpt)}</pre></li>`)}</ul></details>`}</details>`;
}

// Control and direction characters spelled, so that none turns or hides what stands beside it.
function visible(text) {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufffd]/g, (one) => `\u27e8U+${one.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`);
}
