// The frame around all pages: where one is, how the run is, language, theme, keys.
import { html, render, useEffect, useRef, useState, useSignal, route, address, theme, isDark, keep } from "./lib.js";
import { ask, enter, entry, follow, giveToken, link } from "./net.js";
import { lang, t } from "./words.js";
import { Runs } from "./runs.js";
import { RunPages, PAGES } from "./run.js";
import { keys, Help, useKeys } from "./keys.js";

function App() {
  const { parts } = useSignal(route);
  const state = useSignal(entry);
  const language = useSignal(lang);
  const [runs, setRuns] = useState(null);
  const [mayChange, setMayChange] = useState(false);
  const [skew, setSkew] = useState(0);
  const [isHelp, setHelp] = useState(false);
  const isInRun = parts[0] === "run";
  useEffect(() => { document.documentElement.lang = language === "zh" ? "zh-CN" : "en"; }, [language]);
  useEffect(() => {
    if (state !== "in") return undefined;
    const look = () => ask("runs").then((told) => { setMayChange(told.may_change); setSkew(told.now - Date.now() / 1000); setRuns(told.runs); }).catch(() => {});
    look();
    // Beside a run, whose page has a line of its own, the list may be some seconds old.
    if (isInRun) { const timer = setInterval(look, 10_000); return () => clearInterval(timer); }
    return follow({}, (kind, told) => {
      if (kind !== "runs") return;
      setSkew(told.now - Date.now() / 1000);
      setRuns((was) => {
        const all = new Map((was ?? []).map((one) => [one.id, one]));
        for (const one of told.runs) all.set(one.id, one);
        return told.names.map((name) => all.get(name)).filter(Boolean);
      });
    });
  }, [state, isInRun]);
  useKeys({
    "?": () => setHelp((was) => !was), Escape: () => setHelp(false),
    t: () => theme.set(isDark.get() ? "light" : "dark"), z: () => lang.set(lang.get() === "zh" ? "en" : "zh"),
    h: () => { location.hash = "#/"; },
  });
  if (state === "out") return html`<${Shell} parts=${[]} onHelp=${() => setHelp(true)}><${Gate} /><//>`;
  const id = parts[0] === "run" ? parts[1] : null;
  const now = () => Date.now() / 1000 + skew;
  return html`<${Shell} parts=${parts} runs=${runs} onHelp=${() => setHelp(true)}>
    ${id != null
      ? html`<${RunPages} key=${id} id=${id} parts=${parts.slice(2)} runs=${runs ?? []} mayChange=${mayChange} now=${now} />`
      : html`<${Runs} runs=${runs} now=${now} />`}
    ${isHelp && html`<${Help} onClose=${() => setHelp(false)} />`}
  <//>`;
}

function Shell({ parts, runs, onHelp, children }) {
  const shownTheme = useSignal(theme);
  const language = useSignal(lang);
  const line = useSignal(link);
  const id = parts[0] === "run" ? parts[1] : null;
  const page = id != null ? parts[2] ?? "curves" : null;
  const isPage = (name) => page === name || (name === "curves" && !PAGES.includes(page) && page !== "incident") || (name === "incidents" && page === "incident");
  const next = { auto: "light", light: "dark", dark: "auto" }[shownTheme];
  return html`<header class="top">
      <a class="brand" href="#/" aria-label=${t("all_runs")}><svg viewBox="0 0 32 20" aria-hidden="true"><path d="M1 3c6 0 7 11 12 13 2 1 4 1 5 1l2-15 2 15h9" /></svg><span>steadytrain</span></a>
      ${id != null && html`<${Chooser} id=${id} runs=${runs} page=${page} />
      <nav class="tabs" aria-label=${t("pages")}>${PAGES.map((name) => html`<a href=${address(name === "curves" ? ["run", id] : ["run", id, name])}
        aria-current=${isPage(name) ? "page" : null}>${t(`page_${name}`)}</a>`)}</nav>`}
      <span class="grow"></span>
      ${line === "down" && html`<span class="lost" role="status">${t("link_down")}</span>`}
      <button class="quiet" onClick=${() => lang.set(language === "zh" ? "en" : "zh")} lang=${language === "zh" ? "en" : "zh-CN"}>${language === "zh" ? "EN" : "\u4e2d\u6587"}</button>
      <button class="quiet icon" onClick=${() => theme.set(next)} aria-label=${t(`theme_${shownTheme}`)} title=${t(`theme_${shownTheme}`)}>${{ auto: "\u25d0", light: "\u25cb", dark: "\u25cf" }[shownTheme]}</button>
      <button class="quiet icon wide-only" onClick=${onHelp} aria-label=${t("keys")} title=${t("keys")}>?</button>
    </header>
    <main>${children}</main>`;
}

function Chooser({ id, runs, page }) {
  const found = runs ?? [];
  return html`<label class="chooser"><span class="unseen">${t("choose_run")}</span>
    <select value=${id} onChange=${(event) => { location.hash = address(["run", event.target.value, ...(PAGES.includes(page) && page !== "curves" ? [page] : [])]); }}>
    ${!found.some((one) => one.id === id) && html`<option value=${id}>${id}</option>`}
    ${found.map((one) => html`<option value=${one.id}>${one.id}</option>`)}</select></label>`;
}

function Gate() {
  const box = useRef(null);
  const [isWrong, setWrong] = useState(false);
  return html`<form class="gate card" onSubmit=${async (event) => {
    event.preventDefault();
    setWrong(!(await giveToken(box.current.value.trim().replace(/^.*token=/, ""))));
  }}>
    <h1>${t("gate_title")}</h1><p>${t("gate_words")}</p>
    <label>${t("token")} <input ref=${box} type="password" autocomplete="off" /></label>
    <button class="main">${t("enter")}</button>
    ${isWrong && html`<p class="bad" role="alert">${t("gate_wrong")}</p>`}
  </form>`;
}

lang.listen((value) => keep("lang", value));
await enter();
if (entry.get() === "unknown") await ask("runs").catch(() => {});
addEventListener("hashchange", () => { if (/[#&]token=/.test(location.hash)) enter(); });
render(html`<${App} />`, document.getElementById("app"));
