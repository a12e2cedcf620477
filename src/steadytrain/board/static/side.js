// Beside the curves: what waits for a person, what is in force, the incidents, the feed.
import { html, useEffect, useRef, useState, useSignal, address } from "./lib.js";
import { lang, t } from "./words.js";
import { clock, whole } from "./format.js";
import { Proposals, InForce, Mode } from "./say.js";

export function Side({ id, told, glance, now, mayChange, reload }) {
  const incidents = [...told.marks.incidents].reverse();
  return html`<aside class="side">
    <${Proposals} id=${id} standing=${told.standing} mayChange=${mayChange} reload=${reload} />
    <section class="card"><h2>${t("incidents")} <span class="count">${incidents.length}</span></h2>
      ${!incidents.length ? html`<p class="empty small">${t("all_calm")}</p>` : html`<ol class="cases">${incidents.slice(0, 30).map((one) => html`<${Case} key=${one.id} id=${id} one=${one} />`)}</ol>`}</section>
    <${InForce} standing=${told.standing} />
    <${Mode} id=${id} standing=${told.standing} mayChange=${mayChange} reload=${reload} />
    <section class="card feed"><h2>${t("feed")}</h2><${Feed} lines=${told.lines} /></section>
  </aside>`;
}

export function Case({ id, one }) {
  const language = useSignal(lang);
  return html`<li class=${one.state}><a href=${address(["run", id, "incident", one.id])}>
    <span class="mark" aria-hidden="true"></span><b>${one.cause ? one.cause[language] : t("not_examined")}</b>
    <span class="soft">${one.id} \u00b7 ${t("step_n", { n: whole(one.x) })} \u00b7 <span class=${one.state === "cured" ? "good" : one.state === "open" ? "warn" : ""}>${t(`outcome_${one.state}`)}</span></span></a></li>`;
}

export function Feed({ lines, isStory }) {
  const box = useRef(null);
  const [count, setCount] = useState(60);
  const shown = isStory ? lines : lines.slice(-count).reverse();
  useEffect(() => { if (!isStory) setCount(60); }, []);
  if (!lines.length) return html`<p class="empty small">${t("nothing_yet")}</p>`;
  return html`<ol class="lines ${isStory ? "story" : ""}" ref=${box} tabindex="0" aria-label=${t("feed")}>${shown.map((one) => html`<li key=${`${one.n}:${one.at}`} class=${one.tone}>
    <span class="when"><time title=${clock(one.at, { isFull: true })}>${clock(one.at)}</time>${one.step != null && html`<span class="step">${whole(one.step)}</span>`}</span><span class="said">${one.words}</span></li>`)}
    ${!isStory && lines.length > count && html`<li class="more"><button class="quiet" onClick=${() => setCount(count + 200)}>${t("older")}</button></li>`}</ol>`;
}
