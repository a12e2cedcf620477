// Preact, hooks and htm in one place; and the small store that all pages share.
import { h, render, Fragment } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState, useCallback } from "preact/hooks";
import htm from "htm";

export const html = htm.bind(h);
export { h, render, Fragment, useEffect, useLayoutEffect, useMemo, useRef, useState, useCallback };

export function kept(name, otherwise) {
  try { return localStorage.getItem(`steadytrain.${name}`) ?? otherwise; } catch { return otherwise; }
}

export function keep(name, value) {
  try { localStorage.setItem(`steadytrain.${name}`, value); } catch { /* private window: not kept */ }
}

// A value that components listen to.
export function signal(first) {
  let value = first;
  const ears = new Set();
  return {
    get: () => value,
    set(next) { if (next !== value) { value = next; for (const ear of [...ears]) ear(value); } },
    listen(ear) { ears.add(ear); return () => ears.delete(ear); },
  };
}

export function useSignal(one) {
  const [value, set] = useState(one.get());
  useEffect(() => { set(() => one.get()); return one.listen((next) => set(() => next)); }, [one]);
  return value;
}

export const theme = signal(kept("theme", "auto"));
export const isDark = signal(false);
const darkQuery = matchMedia("(prefers-color-scheme: dark)");

function applyTheme() {
  const wanted = theme.get();
  if (wanted === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = wanted;
  isDark.set(wanted === "dark" || (wanted === "auto" && darkQuery.matches));
}
theme.listen((value) => { keep("theme", value); applyTheme(); });
darkQuery.addEventListener("change", applyTheme);
applyTheme();

export const calmMotion = matchMedia("(prefers-reduced-motion: reduce)");

// The hash is the address: #/run/ID/page/PART?axis=step&first=..
export function readRoute() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").filter(Boolean).map((part) => {
    try { return decodeURIComponent(part); } catch { return part; }
  });
  return { parts, query: Object.fromEntries(new URLSearchParams(query)) };
}

export const route = signal(readRoute());
addEventListener("hashchange", () => route.set(readRoute()));

export function address(parts, query = {}) {
  const path = parts.map(encodeURIComponent).join("/");
  const told = new URLSearchParams(Object.entries(query).filter(([, v]) => v !== "" && v != null));
  const text = told.toString();
  return `#/${path}${text ? `?${text}` : ""}`;
}

// Change the query alone, without a new entry in the history.
export function requery(change) {
  const { parts, query } = readRoute();
  history.replaceState(null, "", address(parts, { ...query, ...change }));
  route.set(readRoute());
}
