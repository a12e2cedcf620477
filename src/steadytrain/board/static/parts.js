// Small things that several pages are made of.
import { html, useEffect, useState } from "./lib.js";
import { lang, t } from "./words.js";
import { compact, duration, percent, whole, fixed, ago, NONE } from "./format.js";

// The state that a glance tells, or "silent" when a run that should write does not.
export function stateOf(one, now) {
  const isMoving = ["training", "incident", "waiting", "unguarded"].includes(one.state);
  if (isMoving && one.last_at != null && now - one.last_at > one.quiet_after) return "silent";
  return one.state;
}

export const TONES = {
  training: "good", incident: "warn", waiting: "warn", silent: "bad", unguarded: "bad", "gave up": "bad", down: "bad",
  unreadable: "bad", ended: "plain", empty: "plain", reading: "plain",
};

export function State({ one, now }) {
  const state = stateOf(one, now);
  const word = t(`run_${state.replace(" ", "_")}`);
  const extra = state === "silent" ? ` ${duration(now - one.last_at)}` : state === "reading" ? ` ${percent(one.read ?? 0)}` : "";
  return html`<span class="state ${TONES[state]}"><i></i>${word}${extra}</span>`;
}

export function useNow(now, every = 1000) {
  const [value, set] = useState(now());
  useEffect(() => { const timer = setInterval(() => set(now()), every); return () => clearInterval(timer); }, []);
  return value;
}

// What of the time is worth a line: [part, seconds], in the order of the account.
export function spent(account) {
  return Object.entries(account.parts).filter(([name, seconds]) => name === "productive" || seconds >= 5e-4 * account.wall);
}

export function Goodput({ account, isLong }) {
  if (!account || account.wall < 1) return html`<span class="soft">${NONE}</span>`;
  const words = spent(account).map(([name, seconds]) => `${t(`account_${name}`)} ${percent(seconds / account.wall, 1)}`).join(" \u00b7 ");
  return html`<span class="goodput" title=${words} role="img" aria-label=${words}>
    <b>${percent(account.parts.productive / account.wall, isLong ? 1 : 0)}</b>
    <span class="meter">${spent(account).map(([name, seconds]) => html`<i class=${name} style=${`flex:${seconds}`}></i>`)}</span></span>`;
}

export function Progress({ one }) {
  const share = one.steps ? Math.min(1, one.step / one.steps) : null;
  return html`<span class="progress"><b>${whole(one.step)}</b>${one.steps ? html`<span class="soft">\u2009/\u2009${whole(one.steps)}</span>` : null}
    ${share != null && html`<span class="meter"><i class="productive" style=${`flex:${share}`}></i><i style=${`flex:${1 - share}`}></i></span>`}</span>`;
}

export function Checkpoint({ one, now }) {
  const found = one.checkpoint;
  if (!found) return html`<span class="soft">${NONE}</span>`;
  const verified = found.verified_at != null ? t("verified_at", { step: whole(found.verified_step), ago: ago(found.verified_at, now) }) : t("not_verified");
  return html`<span class="checkpoint" title=${verified}><b>${found.step == null ? NONE : whole(found.step)}</b>
    <span class="soft"> ${found.at == null ? "" : ago(found.at, now)}</span>
    ${found.verified_at != null ? html`<span class="good tick" role="img" aria-label=${verified}> \u2713</span>` : null}
    ${found.failed > 0 && html`<span class="bad"> ${t("failed_n", { n: found.failed })}</span>`}
    ${one.mirror?.failed > 0 && html`<span class="bad mirror" title=${one.mirror.why[lang.get()]}> ${t("mirror_fails", { n: one.mirror.failed })}</span>`}</span>`;
}

export function Facts({ one, now }) {
  const facts = [
    ["step", html`<${Progress} one=${one} />`],
    ["loss", html`<b>${fixed(one.loss)}</b>`],
    ["tokens", html`<b>${compact(one.tokens)}</b>`],
    ["speed", html`<b>${compact(one.tokens_per_second)}</b> <span class="soft">${t("unit_speed")}</span>`],
    ["eta", html`<b>${one.state === "ended" ? NONE : duration(one.eta_seconds)}</b>`],
    ["goodput", html`<${Goodput} account=${one.account} isLong />`],
    ["checkpoint", html`<${Checkpoint} one=${one} now=${now} />`],
    ["mode", html`<b>${t(`mode_${one.mode}`)}</b>`],
  ];
  return html`<dl class="facts">${facts.map(([name, value]) => html`<div><dt>${t(`fact_${name}`)}</dt><dd>${value}</dd></div>`)}</dl>`;
}

// Choices of which one holds.
export function Segments({ label, value, options, onPick, small }) {
  return html`<div class="segments ${small ? "small" : ""}" role="group" aria-label=${label}>${options.map(([key, word]) => html`<button type="button"
    aria-pressed=${String(key === value)} onClick=${() => onPick(key)}>${word}</button>`)}</div>`;
}

export function Problem({ error }) {
  return error ? html`<p class="problem" role="alert">${error.message}</p>` : null;
}

export function Empty({ children }) {
  return html`<p class="empty">${children}</p>`;
}

export function Bar({ share, tone = "act" }) {
  return html`<span class="meter wide"><i class=${tone} style=${`flex:${share}`}></i><i style=${`flex:${Math.max(0, 1 - share)}`}></i></span>`;
}
