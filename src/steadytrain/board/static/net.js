// Everything that the page asks the server.
import { signal, useEffect, useRef, useState } from "./lib.js";
import { lang } from "./words.js";

export const entry = signal("unknown"); // unknown, in, out
export const link = signal("up"); // up, down

const HEADERS = { "x-steadytrain": "1", "content-type": "application/json" };

export class Refused extends Error {
  constructor(status, why) { super(why); this.status = status; }
}

async function answered(response) {
  if (response.ok) { entry.set("in"); return response; }
  if (response.status === 401) entry.set("out");
  let why = response.statusText;
  try { why = (await response.json()).why ?? why; } catch { /* no body */ }
  throw new Refused(response.status, why);
}

export async function ask(path, query = {}, { signal: stop } = {}) {
  const told = new URLSearchParams({ lang: lang.get(), ...query });
  return (await answered(await fetch(`/api/${path}?${told}`, { signal: stop }))).json();
}

export async function askArrays(path, query, { signal: stop } = {}) {
  const told = new URLSearchParams(Object.entries(query).filter(([, v]) => v != null));
  const response = await answered(await fetch(`/api/${path}?${told}`, { signal: stop }));
  return unpack(await response.arrayBuffer());
}

export async function say(path, query, body) {
  const told = new URLSearchParams({ lang: lang.get(), ...query });
  const sent = { method: "POST", headers: HEADERS, body: JSON.stringify(body) };
  return (await answered(await fetch(`/api/${path}?${told}`, sent))).json();
}

// The token comes in the address's fragment, which no server ever sees; it is traded for a cookie.
export async function enter() {
  const found = location.hash.match(/[#&]token=([^&]+)/);
  if (!found) return;
  history.replaceState(null, "", `${location.pathname}#/`);
  await giveToken(decodeURIComponent(found[1]));
}

export async function giveToken(token) {
  try { await say("enter", {}, { token }); return true; } catch { entry.set("out"); return false; }
}

export function unpack(buffer) {
  const size = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  let at = 4 + size;
  const arrays = header.arrays.map(([kind, shape]) => {
    const count = shape.reduce((a, b) => a * b, 1);
    const Kind = kind === "<f8" ? Float64Array : Float32Array;
    const whole = new Kind(buffer, at, count);
    at += Math.ceil((count * Kind.BYTES_PER_ELEMENT) / 8) * 8;
    if (shape.length === 1) return whole;
    return Array.from({ length: shape[0] }, (_, row) => whole.subarray(row * shape[1], (row + 1) * shape[1]));
  });
  return { header, arrays };
}

// Series of a window as a browser draws them.
export async function askSeries(run, names, window, stop) {
  const { header, arrays } = await askArrays("series", { run, names: names.join("\x1f"), ...window }, stop);
  let at = 0;
  const x = arrays[at++] ?? new Float64Array();
  const raw = arrays[at++] ?? names.map(() => new Float32Array());
  const soft = header.smooth ? arrays[at++] : null;
  const branches = header.branches.map((one) => ({ ...one, x: arrays[at++], ys: arrays[at++] }));
  return { ...header, x, raw, soft, branches };
}

// Asks again when what it depends on changes; keeps the last answer while it waits.
export function useAsked(asking, deps) {
  const [state, set] = useState({ data: null, error: null });
  const running = useRef(null);
  useEffect(() => {
    const stop = new AbortController();
    running.current?.abort();
    running.current = stop;
    asking({ signal: stop.signal }).then(
      (data) => { if (!stop.signal.aborted) set({ data, error: null }); },
      (error) => { if (!stop.signal.aborted && error.name !== "AbortError") set((was) => ({ ...was, error })); },
    );
    return () => stop.abort();
  }, deps);
  return state;
}

// Server-sent events by hand-over of the last id: the browser comes back by itself; after a refusal
// (a restarted board, a lost cookie) it is asked again by us.
export function follow(query, hear) {
  let source = null;
  let last = "";
  let again = null;
  let isOver = false;
  const open = () => {
    if (isOver) return;
    const told = new URLSearchParams({ ...query, lang: lang.get(), last });
    source = new EventSource(`/api/stream?${told}`);
    source.onopen = () => link.set("up");
    source.onerror = () => {
      link.set("down");
      if (source.readyState === EventSource.CLOSED) {
        clearTimeout(again);
        again = setTimeout(() => { ask("runs").catch(() => {}); open(); }, 2000);
      }
    };
    for (const kind of ["news", "runs", "gone"]) {
      source.addEventListener(kind, (event) => {
        link.set("up");
        last = event.lastEventId || last;
        hear(kind, JSON.parse(event.data));
      });
    }
  };
  // A browser grants six connections to one host, over all its tabs: one that nobody looks at gives
  // its own back, and hears what it missed when it is looked at again.
  const see = () => {
    clearTimeout(again);
    source?.close();
    if (!document.hidden) open();
  };
  document.addEventListener("visibilitychange", see);
  if (!document.hidden) open();
  return () => { isOver = true; document.removeEventListener("visibilitychange", see); clearTimeout(again); source?.close(); };
}
