// Ranks and processes: who is where, what died, what hung and in which line.
import { html, useSignal } from "./lib.js";
import { ask, useAsked } from "./net.js";
import { lang, t } from "./words.js";
import { whole, duration, clock, ago, bytes, percent, NONE } from "./format.js";
import { Problem, Empty, spent } from "./parts.js";
import { Feed } from "./side.js";

export function Machines({ id, told, glance, now, beat }) {
  const language = useSignal(lang);
  const slow = Math.floor(now / 5);
  const { data, error } = useAsked((stop) => ask("machines", { run: id }, stop), [id, language, told.lines.length, glance.state === "ended" ? 0 : slow]);
  if (!data) return error ? html`<${Problem} error=${error} />` : html`<${Empty}>${t("loading")}<//>`;
  const steps = data.ranks.map((one) => one.step).filter((one) => one != null);
  const ahead = steps.length ? Math.max(...steps) : null;
  return html`<div class="machines">
    <section class="card"><h2>${t("ranks")} <span class="count">${data.ranks.length}</span></h2>
      ${byHost(data.ranks).map(([host, ranks]) => html`${host && html`<h3 class="host soft">${host}</h3>`}<div class="ranks">${ranks.map((one) => html`<${Rank} key=${one.rank} one=${one} ahead=${ahead} isOver=${glance.state === "ended"} unlike=${data.unlike_ranks.includes(one.rank)} />`)}</div>`)}
      ${data.replicas && html`<p class=${data.replicas.unlike.length ? "compared warn small" : "compared small"}>${t("replicas_compared", { n: whole(data.replicas.compared), step: whole(data.replicas.step), copies: data.replicas.copies })} ${data.replicas.unlike.length ? data.replicas.unlike.map((one) => t("replicas_unlike", { step: whole(one.step), part: one.part, ranks: one.ranks.join(", ") })).join(" ") : t("replicas_agree")}</p>`}
      <p class="legend">${t("legend_ranks")}</p></section>
    <div class="grid fit">
      <section class="card"><h2>${t("lives")}</h2>${!data.generations.length ? html`<p class="empty small">${t("no_supervisor")}</p>` : html`<ol class="lives">${[...data.generations].reverse().map((one) => html`<li>
        <div class="line"><b>${t("start_n", { n: one.number + 1 })}</b><span class="soft">${clock(one.at)}${one.until ? ` \u2013 ${clock(one.until)} \u00b7 ${duration(one.until - one.at)}` : ` \u00b7 ${t("goes_on")}`}${one.is_finished ? ` \u00b7 ${t("finished")}` : ""}</span></div>
        ${one.hosts.length > 1 && html`<p class="soft">${t("hosts_n", { n: one.hosts.length })}: ${one.hosts.join(t("comma"))}</p>`}
        ${one.causes.map((cause) => cause.host ? html`<p class=${cause.how === "silent" ? "bad" : "warn"}>${t(`host_${cause.how}`, { host: cause.host })}${cause.ranks.length ? ` \u00b7 rank ${cause.ranks}` : ""}${cause.step != null ? ` \u00b7 ${t("step_n", { n: whole(cause.step) })}` : ""}</p>` : html`<p class="bad">rank ${cause.rank}: ${cause.how === "hung" ? t("hung") : cause.how}${cause.step != null ? ` \u00b7 ${t("step_n", { n: whole(cause.step) })}` : ""}${cause.error && html`<code class="wrap">${cause.error}</code>`}</p>`)}</li>`)}</ol>`}</section>
      <section class="card"><h2>${t("account")}</h2><${Account} account=${glance.account} /></section>
      <section class="card"><h2>${t("checkpoints")}</h2><dl class="pairs">
        ${[["saved", whole(data.checkpoints.saved)], ["failed", data.checkpoints.failed ? html`<span class="bad">${data.checkpoints.failed}</span>` : "0"], ["refused", data.checkpoints.refused ? html`<span class="bad">${data.checkpoints.refused}</span>` : "0"], ["size", bytes(data.checkpoints.bytes)], ["write_time", duration(data.checkpoints.seconds)], ["stood_still", duration(data.checkpoints.blocked)], ...(glance.mirror ? [["mirrored", html`${glance.mirror.step == null ? NONE : `${t("step_n", { n: whole(glance.mirror.step) })}, ${ago(glance.mirror.at, now)}`}${glance.mirror.failed > 0 ? html`${" "}<span class="bad">${t("mirror_fails", { n: glance.mirror.failed })}</span>` : ""}`]] : []), ["newest", data.checkpoints.newest ?? NONE], ["verified", glance.checkpoint?.verified_at != null ? `${t("step_n", { n: whole(glance.checkpoint.verified_step) })} (${glance.checkpoint.verified_source[lang.get()]}), ${ago(glance.checkpoint.verified_at, now)}` : t("not_verified")]].map(([name, value]) => html`<div><dt>${t(`cp_${name}`)}</dt><dd>${value}</dd></div>`)}</dl>${glance.mirror?.failed > 0 && html`<p class="bad small">${glance.mirror.why[lang.get()]}</p>`}</section>
      <section class="card"><h2>${t("step_time")}</h2>${data.speed.usual == null ? html`<p class="empty small">${t("nothing_yet")}</p>` : html`<dl class="pairs"><div><dt>${t("usual")}</dt><dd>${duration(data.speed.usual)}</dd></div><div><dt>${t("slowest_percent")}</dt><dd>${duration(data.speed.slow)}</dd></div></dl>
        <table class="mini"><thead><tr><th>${t("slowest_steps")}</th><th class="n">${t("unit_s")}</th><td></td></tr></thead><tbody>${data.speed.slowest.map(([step, seconds]) => html`<tr><th scope="row" class="n">${whole(step)}</th><td class="n">${duration(seconds)}</td><td><span class="meter wide"><i class="act" style=${`flex:${seconds}`}></i><i style=${`flex:${Math.max(0, data.speed.slowest[0][1] - seconds)}`}></i></span></td></tr>`)}</tbody></table>`}</section>
    </div>
    <section class="card feed"><h2>${t("process_story")}</h2>${data.story.length ? html`<${Feed} lines=${data.story} />` : html`<p class="empty small">${t("no_exits")}</p>`}</section>
    <section class="card"><h2>${t("stacks")}</h2>${!data.stacks.length ? html`<p class="empty small">${t("no_stacks")}</p>` : data.stacks.map((one) => html`<details class="stack"><summary><b>${one.name}</b> <span class="soft">${clock(one.at, { isFull: true })}</span></summary><pre dir="ltr" tabindex="0" translate="no">${one.text}${one.more ? `\n+${one.more}` : ""}</pre></details>`)}</section>
  </div>`;
}

// Where there are several hosts, a row of ranks for each.
function byHost(ranks) {
  const found = new Map();
  for (const one of ranks) found.set(one.host, [...(found.get(one.host) ?? []), one]);
  return found.size > 1 ? [...found] : [[null, ranks]];
}

function Rank({ one, ahead, isOver, unlike }) {
  const behind = one.step != null && ahead != null ? ahead - one.step : 0;
  const silent = one.silent ?? one.heard_silent;
  const tone = one.died ? "bad" : isOver ? "plain" : unlike ? "bad" : silent != null && silent > 60 ? "bad" : behind > 1 || (silent != null && silent > 15) ? "warn" : one.phase ? "good" : "plain";
  const exits = one.exits > 0 ? t("exits_n", { n: one.exits }) : "";
  return html`<div class="rank ${tone}" ><div><b>${one.rank}</b><span>${one.died ? t("died") : unlike ? html`<span class="bad">${t("unlike_rank")}</span>` : one.phase ? t(`phase_${one.phase}`) : NONE}</span></div>
    <div class="soft"><span>${one.step == null ? NONE : whole(one.step)}${behind > 1 ? html` <b class="warn">\u2212${behind}</b>` : ""}${exits && html` <span title=${exits} aria-label=${exits} role="img">\u21bb${one.exits}</span>`}</span><span title=${t("silent_for", { time: "" })}>${isOver || silent == null ? "" : duration(silent)}</span></div></div>`;
}

export function Account({ account }) {
  if (!account) return html`<p class="empty small">${t("nothing_yet")}</p>`;
  return html`<div class="account"><span class="meter tall" role="img" aria-label=${t("account")}>${spent(account).map(([name, seconds]) => html`<i class=${name} style=${`flex:${seconds}`}></i>`)}</span>
    <dl>${spent(account).map(([name, seconds]) => html`<div><dt><i class="dot ${name}"></i>${t(`account_${name}`)}</dt><dd class="n">${duration(seconds)} <b>${percent(seconds / account.wall, 1)}</b></dd></div>`)}
    <div><dt>${t("account_wall")}</dt><dd class="n">${duration(account.wall)}</dd></div></dl></div>`;
}
