// Numbers, times and durations as people read them, in the language of the page.
import { lang, t } from "./words.js";

const formats = new Map();

function format(options) {
  const key = lang.get() + JSON.stringify(options);
  if (!formats.has(key)) formats.set(key, new Intl.NumberFormat(lang.get() === "zh" ? "zh-CN" : "en-US", options));
  return formats.get(key);
}

export const NONE = "\u2013";

export function whole(value) {
  return value == null ? NONE : format({ maximumFractionDigits: 0 }).format(value);
}

// Three or four digits that matter; a word for what is no number.
export function number(value, digits = 4) {
  if (value == null) return NONE;
  if (typeof value === "string") return value;
  if (Number.isNaN(value)) return "NaN";
  if (value === 0) return "0";
  if (!Number.isFinite(value)) return value > 0 ? "\u221e" : "\u2212\u221e";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace("e+", "e").replace("-", "\u2212");
  const text = size >= 10 ** digits ? value.toFixed(0) : value.toPrecision(digits);
  return text.replace(/^-/, "\u2212");
}

export function fixed(value, places = 3) {
  return value == null || !Number.isFinite(value) ? NONE : value.toFixed(places).replace(/^-/, "\u2212");
}

export function compact(value) {
  return value == null ? NONE : format({ notation: "compact", maximumSignificantDigits: 3 }).format(value);
}

export function percent(value, places = 0) {
  if (value == null || !Number.isFinite(value)) return NONE;
  return `${(100 * value).toFixed(places)}\u2009%`;
}

export function signed(value, places = 1) {
  if (value == null || !Number.isFinite(value)) return NONE;
  return `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(places)}`;
}

export function bytes(value) {
  if (value == null) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (value >= 1000 && at < units.length - 1) { value /= 1000; at += 1; }
  return `${value.toPrecision(3)} ${units[at]}`;
}

// The two largest units: 2 d 3 h, 5 min 12 s.
export function duration(seconds) {
  if (seconds == null || !Number.isFinite(seconds)) return NONE;
  if (seconds < 0) seconds = 0;
  if (seconds < 0.9995) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} ${t("unit_s")}`;
  const units = [["unit_d", 86400], ["unit_h", 3600], ["unit_min", 60], ["unit_s", 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  const parts = [];
  let rest = Math.round(seconds);
  for (const [name, size] of units.slice(first, first + 2)) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count) parts.push(`${count} ${t(name)}`);
  }
  return parts.join(" ");
}

export function ago(at, now) {
  if (at == null) return NONE;
  const past = Math.max(0, now - at);
  return past < 2 ? t("just_now") : t("ago", { time: coarse(past) });
}

function coarse(seconds) {
  const units = [["unit_d", 86400], ["unit_h", 3600], ["unit_min", 60], ["unit_s", 1]];
  const [name, size] = units.find(([, one]) => seconds >= one) ?? units[3];
  return `${Math.floor(seconds / size)} ${t(name)}`;
}

export function clock(at, { isFull = false } = {}) {
  if (at == null) return NONE;
  const when = new Date(1000 * at);
  const two = (value) => String(value).padStart(2, "0");
  const time = `${two(when.getHours())}:${two(when.getMinutes())}:${two(when.getSeconds())}`;
  const isToday = when.toDateString() === new Date().toDateString();
  return isToday && !isFull ? time : `${two(when.getMonth() + 1)}-${two(when.getDate())} ${time}`;
}
