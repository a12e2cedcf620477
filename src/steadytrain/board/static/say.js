// A person's word to the run: accept, refuse, order, set the mode; and what became of it.
import { html, useEffect, useRef, useState, kept, keep, address } from "./lib.js";
import { ask, say } from "./net.js";
import { t } from "./words.js";
import { whole } from "./format.js";
import { Segments } from "./parts.js";

// Sends a word and watches its fate until the run has taken or refused it.
export function useWord(id, reload) {
  const [state, set] = useState(null);
  const alive = useRef(true);
  useEffect(() => () => { alive.current = false; }, []);
  const send = async (body) => {
    set({ kind: "sending" });
    try {
      const { id: name } = await say("word", { run: id }, { name: kept("name", ""), ...body });
      if (name == null) { set({ kind: "possible" }); return; }
      set({ kind: "waits", name });
      for (let tries = 0; tries < 600 && alive.current; tries++) {
        await new Promise((done) => setTimeout(done, tries < 20 ? 500 : 3000));
        const fate = await ask("fate", { run: id, id: name });
        if (fate.state !== "waits") { set({ kind: fate.state, why: fate.why, name }); reload?.(); return; }
      }
    } catch (error) { set({ kind: "impossible", why: error.message }); }
  };
  return [state, send, () => set(null)];
}

export function Fate({ state }) {
  if (!state) return null;
  const tone = { possible: "good", taken: "good", refused: "bad", impossible: "bad" }[state.kind] ?? "plain";
  return html`<p class="fate ${tone}" role="status">${t(`fate_${state.kind}`)}${state.why ? html` <span>${state.why}</span>` : null}</p>`;
}

export function Proposals({ id, standing, mayChange, reload, only }) {
  const mine = (one) => !only || one.incident === only;
  const found = standing.proposals.filter(mine), asked = standing.asked.filter(mine), told = standing.suggested.filter(mine);
  if (!found.length && !asked.length && !told.length) return null;
  return html`<section class="card needs" aria-label=${t("needs_you")}><h2>${found.length + asked.length ? t("needs_you") : t("suggested")}</h2>
    ${found.map((one) => html`<${Proposal} key=${one.id} id=${id} one=${one} mayChange=${mayChange && !standing.ended} reload=${reload} only=${only} />`)}
    ${asked.map((one) => html`<div class="ask"><b>${one.plan}</b><a href=${address(["run", id, "incident", one.incident])}>${one.incident}</a></div>`)}
    ${told.map((one) => html`<div class="ask"><b>${one.plan}</b><p class="soft">${one.why}</p></div>`)}
  </section>`;
}

function Proposal({ id, one, mayChange, reload, only }) {
  const [state, send] = useWord(id, reload);
  const [why, setWhy] = useState("");
  const isBusy = state && ["sending", "waits", "taken"].includes(state.kind);
  return html`<div class="proposal"><b>${one.plan}</b><p>${one.why}</p>
    <p class="soft">${one.id} \u00b7 ${one.cause}${!only && html` \u00b7 <a href=${address(["run", id, "incident", one.incident])}>${one.incident}</a>`}</p>
    ${mayChange ? html`<label class="why"><span class="unseen">${t("why")}</span><input value=${why} placeholder=${t("why_placeholder")} maxlength="400" onInput=${(event) => setWhy(event.target.value)} /></label>
    <div class="buttons"><button class="main" disabled=${isBusy} onClick=${() => send({ verb: "accept", remedy: one.id, why })}>${t("accept")}</button>
      <button disabled=${isBusy} onClick=${() => send({ verb: "refuse", remedy: one.id, why })}>${t("refuse")}</button></div>` : html`<p class="soft">${t("only_look")}</p>`}
    <${Fate} state=${state} /></div>`;
}

export function InForce({ standing }) {
  if (!standing.in_force.length) return null;
  return html`<section class="card"><h2>${t("in_force")}</h2><ul class="force">${standing.in_force.map((one) => html`<li><b>${one.words}</b>
    <span class="soft">${one.remedy} \u00b7 ${one.until == null ? t("for_good") : t("until_step", { step: whole(one.until) })}</span></li>`)}</ul></section>`;
}

export function Mode({ id, standing, mayChange, reload }) {
  const [state, send] = useWord(id, reload);
  if (standing.ended || !mayChange) return null;
  return html`<section class="card"><h2>${t("mode")}</h2>
    <${Segments} label=${t("mode")} value=${standing.mode} options=${["observe", "ask", "act"].map((one) => [one, t(`mode_${one}`)])} onPick=${(mode) => { if (mode !== standing.mode) send({ verb: mode }); }} />
    <p class="soft small">${t(`mode_${standing.mode}_words`)}</p><${Fate} state=${state} />
    <details class="order"><summary>${t("order_title")}</summary><${Order} id=${id} standing=${standing} reload=${reload} /></details></section>`;
}

export function Order({ id, standing, reload, incident }) {
  const [plan, setPlan] = useState("");
  const [why, setWhy] = useState("");
  const [name, setName] = useState(kept("name", ""));
  const [state, send, clear] = useWord(id, reload);
  const body = { verb: "order", plan, why, ...(incident && standing.open.includes(incident) ? { incident } : {}) };
  return html`<form class="word" onSubmit=${(event) => { event.preventDefault(); send(body); }}>
    <label>${t("plan")}<textarea rows="2" spellcheck="false" value=${plan} placeholder="lr 0.5 hold 100 rewarm 400" onInput=${(event) => { setPlan(event.target.value); clear(); }}></textarea></label>
    <label>${t("why")}<input value=${why} maxlength="400" onInput=${(event) => setWhy(event.target.value)} /></label>
    <label>${t("your_name")}<input value=${name} maxlength="80" onInput=${(event) => { setName(event.target.value); keep("name", event.target.value); }} /></label>
    <div class="buttons"><button type="button" disabled=${!plan.trim()} onClick=${() => send({ ...body, try: true })}>${t("try_order")}</button>
      <button class="main" disabled=${!plan.trim() || state?.kind === "waits"}>${t("order")}</button></div>
    <${Fate} state=${state} />
    <details><summary>${t("order_help")}</summary><ul class="manual">${standing.manual.map((one) => html`<li><button type="button" class="code" onClick=${() => setPlan((was) => (was.trim() ? `${was.trim()}; ${one.example}` : one.example))}>${one.example}</button> <span class="soft">${one.says}</span></li>`)}</ul></details>
  </form>`;
}
