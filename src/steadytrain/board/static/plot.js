// One chart: uPlot below, and on it what uPlot has no word for: branches that were given up, values
// that are no numbers, updates held back, incidents, other runs.
import { html, useEffect, useLayoutEffect, useRef, isDark, useSignal } from "./lib.js";
import { number, fixed, whole, compact, clock, NONE } from "./format.js";
import { t, lang } from "./words.js";

export const GUTTER = 58; // of the vertical axis; lane and heat strip keep the same
export const RIGHT = 22;
const SYNC = uPlotSync();

function uPlotSync() {
  let made = null;
  return () => (made ??= uPlot.sync("steadytrain"));
}

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

export function domainColour(index) {
  return colour(`d${index % 10}`);
}

// Where the cursor is on the axis, for whatever else shows a line there.
const cursorEars = new Set();
export function onCursor(ear) { cursorEars.add(ear); return () => cursorEars.delete(ear); }
function tellCursor(x) { for (const ear of cursorEars) ear(x); }

export function axisLabel(axis, x) {
  if (x == null) return NONE;
  if (axis === "time") return clock(x, { isFull: true });
  if (axis === "tokens") return compact(x);
  return whole(Math.round(x));
}

function shortTick(axis, values, span) {
  if (axis === "tokens") return values.map((value) => compact(value));
  if (axis !== "time") return values.map((value) => (Number.isInteger(value) ? whole(value) : ""));
  return values.map((value) => {
    const when = new Date(1000 * value);
    const two = (n) => String(n).padStart(2, "0");
    if (span > 2 * 86400) return `${two(when.getMonth() + 1)}-${two(when.getDate())}`;
    const time = `${two(when.getHours())}:${two(when.getMinutes())}`;
    return span < 600 ? `${time}:${two(when.getSeconds())}` : time;
  });
}

function yTick(value) {
  if (value == null) return "";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(0).replace("e+", "e").replace("-", "\u2212");
  return String(+value.toPrecision(4)).replace("-", "\u2212");
}

// What a chart must show of its values: all of them, or all but the outermost; those beyond are
// drawn as carets on the edge, never left out.
export function limits(arrays, { isLog, isTrimmed, first, x, floor, settled }) {
  let low = Infinity, high = -Infinity, early = -Infinity;
  const kept = [];
  for (const values of arrays) {
    if (!values) continue;
    for (let i = 0; i < values.length; i++) {
      const value = values[i];
      if (!Number.isFinite(value) || (isLog && value <= 0)) continue;
      if (x && x.length === values.length && first != null && (x[i] < first[0] || x[i] > first[1])) continue;
      if (value < low) low = value;
      if (settled != null && x && x.length === values.length && x[i] < settled) { early = Math.max(early, value); continue; }
      if (value > high) high = value;
      if (isTrimmed) kept.push(value);
    }
  }
  if (high === -Infinity) high = early;
  if (low === Infinity) return [isLog ? 0.1 : 0, 1];
  if (isTrimmed && kept.length > 20) {
    kept.sort((a, b) => a - b);
    const a = kept[Math.floor(0.02 * (kept.length - 1))], b = kept[Math.ceil(0.98 * (kept.length - 1))];
    const room = 0.2 * (b - a);
    low = Math.max(low, a - room);
    high = Math.min(high, b + room);
  }
  if (isLog) {
    const room = Math.max(0.02, 0.05 * Math.log10(high / low));
    return [low / 10 ** room, high * 10 ** room];
  }
  const room = 0.06 * (high - low) || 0.05 * Math.abs(high) || 1;
  return [floor != null ? Math.max(floor, low - room) : low - room, high + room];
}

// props: title, unit, axis, x, lines [{name, label, colour, raw, soft, odd}], branches [{x, lines}],
// others [{name, x, lines}], bands [{colour, low, high}], spans [{from, to, tone}], pins, held,
// settled: x from which on values must fit, range [first, last], isLog, isTrimmed, height, onZoom, format
export function Plot(props) {
  const box = useRef(null);
  const readout = useRef(null);
  const held = useRef({ plot: null, props: null });
  const dark = useSignal(isDark);
  const language = useSignal(lang);
  held.current.props = props;
  const shape = [props.axis, !!props.isLog, dark, language, props.height,
    props.lines.map((one) => `${one.name}:${one.colour}:${!!one.soft}`).join("|")].join(";");

  useLayoutEffect(() => {
    const element = box.current;
    const plot = make(element, held);
    held.current.plot = plot;
    const watch = new ResizeObserver(() => {
      const width = element.clientWidth;
      if (width > 0 && width !== plot.width) plot.setSize({ width, height: props.height });
    });
    watch.observe(element);
    const untouch = touches(element, plot, held);
    return () => { watch.disconnect(); untouch(); plot.destroy(); held.current.plot = null; };
  }, [shape]);

  useEffect(() => {
    const { plot } = held.current;
    if (!plot) return;
    plot.setData(columns(props), false);
    rescale(plot, props);
    show(readout.current, plot, props, plot.cursor.idx);
  });

  held.current.hear = (plot) => {
    show(readout.current, plot, held.current.props, plot.cursor.idx);
    const x = plot.cursor.left >= 0 ? plot.posToVal(plot.cursor.left, "x") : null;
    tellCursor(x);
  };

  return html`<figure class="plot" role="img" aria-label=${spoken(props)}>
    <figcaption><b>${props.title}</b>${props.unit ? html` <span class="soft">${props.unit}</span>` : null}
      <span class="readout" ref=${readout} aria-hidden="true"></span></figcaption>
    <div class="canvas" ref=${box} style=${`height:${props.height}px`}></div>
  </figure>`;
}

function spoken(props) {
  const last = props.lines.map((one) => {
    const values = one.soft ?? one.raw;
    let i = values.length - 1;
    while (i >= 0 && !Number.isFinite(values[i])) i -= 1;
    return `${one.label || props.title} ${i < 0 ? NONE : number(values[i])}`;
  });
  return `${props.title}: ${last.join(", ")}`;
}

function columns(props) {
  const data = [props.x];
  for (const line of props.lines) {
    data.push(gaps(line.raw, line.isJoined));
    if (line.soft) data.push(gaps(line.soft));
  }
  return data;
}

// uPlot leaves a gap at null, and none at NaN; undefined is passed over.
function gaps(values, isJoined) {
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) return Array.from(values, (one) => (Number.isFinite(one) ? one : isJoined ? undefined : null));
  }
  return values;
}

function rescale(plot, props) {
  const [first, last] = props.range;
  const shown = [];
  for (const line of props.lines) shown.push(line.raw, line.soft);
  for (const other of props.others ?? []) shown.push(...other.lines.map((one) => one.values));
  for (const band of props.bands ?? []) shown.push(band.low, band.high);
  if (props.points) shown.push(props.points.filter((one) => one.isWanted).map((one) => one.y));
  const wish = { isLog: props.isLog, isTrimmed: props.isTrimmed, first: props.range, x: props.x, floor: props.floor, settled: props.settled };
  const [low, high] = widened(limits(shown, wish), props);
  plot.batch(() => {
    plot.setScale("x", { min: first, max: last > first ? last : first + 1 });
    plot.setScale("y", { min: low, max: high });
  });
}

// A branch that was given up may widen the picture by its own height once, not flatten it.
function widened([low, high], props) {
  const given = (props.branches ?? []).flatMap((one) => one.lines.map((line) => line.values));
  if (!given.length || props.isTrimmed) return [low, high];
  const [below, above] = limits(given, { isLog: props.isLog });
  if (props.isWhole) return [Math.min(low, below), Math.max(high, above)];
  if (props.isLog) {
    const most = high / low;
    return [Math.max(Math.min(low, below), low / most), Math.min(Math.max(high, above), high * most)];
  }
  const most = high - low;
  return [Math.max(Math.min(low, below), low - most), Math.min(Math.max(high, above), high + most)];
}

function make(element, held) {
  const props = held.current.props;
  const ink = colour("soft"), line = colour("hair");
  const font = "11px Inter, system-ui, sans-serif";
  const series = [{}];
  for (const one of props.lines) {
    const isBehind = !!one.soft;
    series.push({
      stroke: one.colour, width: isBehind ? 1 : 1.4, alpha: isBehind ? 0.28 : 1, points: { show: false },
      spanGaps: false, dash: one.dash,
    });
    if (one.soft) series.push({ stroke: one.colour, width: 1.8, points: { show: false } });
  }
  const axis = props.axis;
  const options = {
    width: element.clientWidth || 300,
    height: props.height,
    padding: [6, RIGHT, 0, 0],
    legend: { show: false },
    cursor: {
      y: false, points: { size: 6, width: 1.5 },
      drag: { x: true, y: false, setScale: false, uni: 8 },
      sync: { key: SYNC().key, scales: ["x", null], setSeries: false, match: [(a, b) => a === b, () => false] },
      bind: { dblclick: () => () => { held.current.props.onZoom?.(null); return null; } },
    },
    scales: {
      x: { time: false, auto: false },
      y: { auto: false, distr: props.isLog ? 3 : 1, log: 10 },
    },
    axes: [
      {
        stroke: ink, font, size: 26, gap: 4, space: axis === "time" ? 76 : 54, grid: { show: false }, ticks: { stroke: line, size: 4, width: 1 },
        values: (u, values) => shortTick(axis, values, u.scales.x.max - u.scales.x.min),
      },
      {
        stroke: ink, font, size: GUTTER, gap: 6, space: 28, grid: { stroke: line, width: 1 }, ticks: { show: false },
        values: (u, values) => values.map((value) => (value == null ? "" : props.yLabel ? props.yLabel(value) : yTick(value))),
      },
    ],
    series,
    hooks: {
      drawClear: [(u) => drawBehind(u, held.current.props)],
      draw: [(u) => drawOver(u, held.current.props)],
      setCursor: [(u) => held.current.hear?.(u)],
      setSelect: [(u) => {
        if (u.select.width > 4) {
          const first = u.posToVal(u.select.left, "x");
          const last = u.posToVal(u.select.left + u.select.width, "x");
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          held.current.props.onZoom?.([first, last]);
        }
      }],
    },
  };
  if (props.isLog) options.axes[1].filter = options.axes[1].grid.filter = (u, splits) => logSplits(u, splits);
  return new uPlot(options, columns(props), element);
}

// On a logarithmic axis: powers of ten, and 2 and 5 where there is room.
function logSplits(u, splits) {
  const decades = Math.log10(u.scales.y.max / u.scales.y.min);
  const wanted = decades > 3 ? [1] : decades > 1.2 ? [1, 3] : decades > 0.5 ? [1, 2, 5] : null;
  return splits.map((value) => {
    if (value == null || value <= 0) return null;
    const lead = value / 10 ** Math.floor(Math.log10(value) + 1e-9);
    const isRound = (one) => Math.abs(one - Math.round(one)) < 1e-6;
    if (!wanted) return isRound(10 * lead) ? value : null;
    return isRound(lead) && wanted.includes(Math.round(lead)) ? value : null;
  });
}

function drawBehind(u, props) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const span of props.spans ?? []) {
    const a = u.valToPos(span.from, "x", true), b = u.valToPos(span.to ?? u.scales.x.max, "x", true);
    ctx.fillStyle = colour(`wash-${span.tone}`);
    ctx.fillRect(Math.min(a, b) - 0.5, bbox.top, Math.max(2, b - a), bbox.height);
  }
  for (const band of props.bands ?? []) drawBand(u, props.x, band);
  ctx.restore();
}

function drawBand(u, x, band) {
  const { ctx } = u;
  ctx.beginPath();
  let isOpen = false;
  for (let i = 0; i < x.length; i++) {
    if (band.high[i] == null || !Number.isFinite(band.high[i])) continue;
    const px = u.valToPos(x[i], "x", true), py = u.valToPos(band.high[i], "y", true);
    if (isOpen) ctx.lineTo(px, py); else ctx.moveTo(px, py);
    isOpen = true;
  }
  for (let i = x.length - 1; i >= 0; i--) {
    if (band.low[i] == null || !Number.isFinite(band.low[i])) continue;
    ctx.lineTo(u.valToPos(x[i], "x", true), u.valToPos(band.low[i], "y", true));
  }
  ctx.closePath();
  ctx.globalAlpha = band.alpha ?? 0.16;
  ctx.fillStyle = band.colour;
  ctx.fill();
  ctx.globalAlpha = 1;
}

function stroke(u, x, y, paint, { width = 1, alpha = 1, dash = [] } = {}) {
  const { ctx } = u, ratio = devicePixelRatio || 1;
  ctx.beginPath();
  let isDown = false;
  const isLog = u.scales.y.distr === 3;
  for (let i = 0; i < x.length; i++) {
    const value = y[i];
    if (!Number.isFinite(value) || (isLog && value <= 0)) { isDown = false; continue; }
    const px = u.valToPos(x[i], "x", true), py = u.valToPos(value, "y", true);
    if (isDown) ctx.lineTo(px, py); else ctx.moveTo(px, py);
    isDown = true;
  }
  ctx.globalAlpha = alpha;
  ctx.strokeStyle = paint;
  ctx.lineWidth = width * ratio;
  ctx.setLineDash(dash.map((one) => one * ratio));
  ctx.stroke();
  ctx.setLineDash([]);
  ctx.globalAlpha = 1;
}

function drawOver(u, props) {
  const { ctx, bbox } = u, ratio = devicePixelRatio || 1;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const other of props.others ?? []) {
    for (const line of other.lines) stroke(u, other.x, line.values, line.colour, { width: 1.3, alpha: 0.8, dash: [5, 3] });
  }
  for (const branch of props.branches ?? []) {
    for (const line of branch.lines) {
      stroke(u, branch.x, line.values, line.colour, { width: 1.2, alpha: 0.5, dash: [2, 2] });
      carets(u, branch.x, line.values, line.colour, ratio);
    }
  }
  for (const point of props.points ?? []) {
    const px = u.valToPos(point.x, "x", true), py = u.valToPos(point.y, "y", true);
    ctx.beginPath();
    ctx.arc(px, py, (point.size ?? 2.5) * ratio, 0, 2 * Math.PI);
    ctx.fillStyle = point.isHollow ? colour("card") : point.colour;
    ctx.fill();
    ctx.strokeStyle = point.colour;
    ctx.lineWidth = 1.3 * ratio;
    ctx.stroke();
  }
  const bad = colour("bad");
  for (const line of props.lines) {
    for (const x of line.odd ?? []) drawOdd(u, x, bad, ratio);
    carets(u, props.x, line.raw, line.colour, ratio);
  }
  for (const x of props.held ?? []) {
    const px = u.valToPos(x, "x", true);
    ctx.fillStyle = colour("warn");
    ctx.fillRect(px - 0.75 * ratio, bbox.top + bbox.height - 6 * ratio, 1.5 * ratio, 6 * ratio);
  }
  ctx.restore();
  // Labels that would cover each other stand below each other.
  const ends = [];
  for (const pin of [...(props.pins ?? [])].sort((a, b) => a.x - b.x)) drawPin(u, pin, ratio, ends);
}

// A value that is no number: a red cross on the upper edge and a line down.
function drawOdd(u, x, paint, ratio) {
  const { ctx, bbox } = u;
  const px = u.valToPos(x, "x", true), size = 3.2 * ratio, top = bbox.top + size + ratio;
  ctx.strokeStyle = paint;
  ctx.lineWidth = 1.6 * ratio;
  ctx.beginPath();
  ctx.moveTo(px - size, top - size); ctx.lineTo(px + size, top + size);
  ctx.moveTo(px + size, top - size); ctx.lineTo(px - size, top + size);
  ctx.stroke();
  ctx.globalAlpha = 0.35;
  ctx.lineWidth = ratio;
  ctx.beginPath(); ctx.moveTo(px, top + size); ctx.lineTo(px, bbox.top + bbox.height); ctx.stroke();
  ctx.globalAlpha = 1;
}

// What lies beyond the drawn range is marked where it is farthest out, once for each excursion.
function carets(u, x, values, paint, ratio) {
  const { ctx, bbox } = u, { min, max } = u.scales.y, [first, last] = [u.scales.x.min, u.scales.x.max];
  let side = 0, best = null, before = -Infinity;
  const put = () => {
    if (best == null) return;
    const px = u.valToPos(x[best], "x", true), size = 3.4 * ratio;
    if (px - before >= 5 * ratio) {
      before = px;
      const edge = side > 0 ? bbox.top : bbox.top + bbox.height;
      ctx.beginPath(); ctx.moveTo(px, edge); ctx.lineTo(px - size, edge + side * 1.5 * size); ctx.lineTo(px + size, edge + side * 1.5 * size); ctx.fill();
    }
    best = null;
  };
  ctx.fillStyle = paint;
  for (let i = 0; i < x.length; i++) {
    const value = values[i];
    if (!Number.isFinite(value) || x[i] < first || x[i] > last) continue;
    const here = value > max ? 1 : value < min ? -1 : 0;
    if (here !== side) { put(); side = here; }
    if (here && (best == null || here * value > here * values[best])) best = i;
  }
  put();
}

function drawPin(u, pin, ratio, ends) {
  const { ctx, bbox } = u;
  if (pin.x < u.scales.x.min || pin.x > u.scales.x.max) return;
  const px = u.valToPos(pin.x, "x", true), paint = colour(pin.tone ?? "soft");
  ctx.save();
  ctx.strokeStyle = paint;
  ctx.setLineDash([3 * ratio, 3 * ratio]);
  ctx.lineWidth = ratio;
  ctx.beginPath(); ctx.moveTo(px, bbox.top); ctx.lineTo(px, bbox.top + bbox.height); ctx.stroke();
  ctx.setLineDash([]);
  if (pin.label) {
    ctx.font = `600 ${10 * ratio}px Inter, system-ui, sans-serif`;
    const width = ctx.measureText(pin.label).width + 8 * ratio, height = 14 * ratio;
    ctx.fillStyle = paint;
    const left = Math.min(Math.max(px - width / 2, bbox.left), bbox.left + bbox.width - width);
    let row = 0;
    while (ends[row] > left - 2 * ratio) row += 1;
    ends[row] = left + width;
    const top = bbox.top + row * (height + 2 * ratio);
    ctx.beginPath(); ctx.roundRect(left, top, width, height, 3 * ratio); ctx.fill();
    ctx.fillStyle = colour("card");
    ctx.textAlign = "center"; ctx.textBaseline = "middle";
    ctx.fillText(pin.label, left + width / 2, top + height / 2 + 0.5 * ratio);
  }
  ctx.restore();
}

// The values at the cursor, or the last ones.
function show(element, plot, props, index) {
  if (!element) return;
  const isIdle = index == null || plot.cursor.left < 0;
  const x = props.x;
  let at = isIdle ? x.length - 1 : index;
  const parts = [];
  for (const line of props.lines) {
    let here = at;
    const values = line.soft ?? line.raw;
    if (isIdle) while (here > 0 && !Number.isFinite(values[here])) here -= 1;
    const pair = props.stride > 1 && !line.soft && !isIdle ? [line.raw[here & ~1], line.raw[here | 1]] : null;
    const text = pair && pair[0] !== pair[1] && Number.isFinite(pair[0]) && Number.isFinite(pair[1])
      ? `${value(props, Math.min(...pair))}\u2009\u2026\u2009${value(props, Math.max(...pair))}`
      : value(props, values[here]);
    parts.push([line.label, line.colour, text]);
  }
  element.replaceChildren();
  if (!isIdle && x.length) {
    const where = document.createElement("span");
    where.className = "where";
    const first = x[at & (props.stride > 1 ? ~1 : ~0)];
    where.textContent = props.axis === "step" && props.stride > 1
      ? `${whole(first)}\u2013${whole(first + props.stride - 1)}` : axisLabel(props.axis, x[at]);
    element.append(where);
  }
  for (const [label, paint, text] of parts) {
    const one = document.createElement("span");
    one.className = "value";
    const dot = document.createElement("i");
    dot.style.background = paint;
    one.append(dot);
    if (label) { const name = document.createElement("em"); name.textContent = label; one.append(name); }
    const shown = document.createElement("span");
    shown.textContent = text;
    one.append(shown);
    element.append(one);
  }
}

function value(props, one) {
  if (one == null || Number.isNaN(one)) return NONE;
  return props.format ? props.format(one) : number(one);
}

// Fingers: one moves the cursor, two zoom about their middle.
function touches(element, plot, held) {
  let start = null;
  const over = element.querySelector(".u-over");
  const places = (event) => [...event.touches].map((touch) => touch.clientX - over.getBoundingClientRect().left);
  const begin = (event) => {
    if (event.touches.length === 2) {
      const [a, b] = places(event);
      start = [plot.posToVal(a, "x"), plot.posToVal(b, "x"), null];
    }
  };
  const move = (event) => {
    if (event.touches.length === 1) plot.setCursor({ left: places(event)[0], top: 10 });
    if (event.touches.length === 2 && start) {
      event.preventDefault();
      const [a, b] = places(event).sort((p, q) => p - q), width = over.clientWidth;
      const [low, high] = [start[0], start[1]].sort((p, q) => p - q);
      const unit = (high - low) / Math.max(8, b - a);
      start[2] = [low - a * unit, low + (width - a) * unit];
      plot.setScale("x", { min: start[2][0], max: start[2][1] });
    }
  };
  const end = () => { if (start?.[2]) held.current.props.onZoom?.(start[2]); start = null; };
  over.addEventListener("touchstart", begin, { passive: true });
  over.addEventListener("touchmove", move, { passive: false });
  over.addEventListener("touchend", end);
  return () => { over.removeEventListener("touchstart", begin); over.removeEventListener("touchmove", move); over.removeEventListener("touchend", end); };
}

