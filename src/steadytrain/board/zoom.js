// Curves that zoom: min/max of what each pixel covers, so a one-step spike is never lost.
"use strict";
const floats = text => new Float64Array(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
const charts = [];

function atMost(series, first, last, buckets) {
  const rows = series.rows, values = series.values;
  let a = lower(rows, first), b = lower(rows, last + 1);
  a = Math.max(0, a - 1);
  b = Math.min(rows.length, b + 1);
  if (b - a <= 2 * buckets) return [rows.subarray(a, b), shown(values.subarray(a, b))];
  const xs = [], ys = [];
  for (let i = 0; i < buckets; i++) {
    const from = a + Math.floor((b - a) * i / buckets), to = a + Math.floor((b - a) * (i + 1) / buckets);
    let low = -1, high = -1;
    for (let k = from; k < to; k++) {
      if (!Number.isFinite(values[k])) continue;
      if (low < 0 || values[k] < values[low]) low = k;
      if (high < 0 || values[k] > values[high]) high = k;
    }
    for (const k of low === high ? [low] : [Math.min(low, high), Math.max(low, high)])
      if (k >= 0) { xs.push(rows[k]); ys.push(values[k]); }
  }
  return [xs, ys];
}

const shown = values => Array.from(values, one => Number.isFinite(one) ? one : null);

function lower(sorted, value) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1; else high = middle;
  }
  return low;
}

const stepOf = (run, row) => {
  const at = Math.min(lower(run.rows, row), run.rows.length - 1);
  return run.steps[Math.max(0, at)];
};

function marks(run) {
  return plot => {
    const { ctx, bbox } = plot;
    ctx.save();
    for (const one of run.troubles) {
      const left = plot.valToPos(one.first, "x", true), right = plot.valToPos(one.last, "x", true);
      if (right < bbox.left || left > bbox.left + bbox.width) continue;
      ctx.fillStyle = one.bad ? "rgba(192,57,43,.22)" : "rgba(120,120,120,.18)";
      ctx.fillRect(Math.max(left - 1, bbox.left), bbox.top, Math.max(2, right - left), bbox.height);
    }
    ctx.restore();
  };
}

function draw(run, series, place) {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--soft"), line = style.getPropertyValue("--line");
  const width = place.clientWidth, buckets = Math.max(200, width);
  const last = run.rows[run.rows.length - 1];
  const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
  const plot = new uPlot({
    width, height: 220, title: series.name, legend: { show: false },
    cursor: { drag: { x: true, y: false } },
    scales: { x: { time: false, range: (_, a, b) => [a, b] }, y: { distr: series.log ? 3 : 1 } },
    series: [{}, { stroke: series.colour, width: 1.2, points: { show: false }, spanGaps: false }],
    axes: [{ ...axis, values: (_, rows) => rows.map(row => stepOf(run, row).toLocaleString()) },
           { ...axis, size: 64 }],
    hooks: {
      draw: [marks(run)],
      setSelect: [self => {
        if (self.select.width > 3) {
          const from = self.posToVal(self.select.left, "x");
          view(run, from, self.posToVal(self.select.left + self.select.width, "x"));
        }
        self.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
      }],
      setCursor: [self => {
        const at = self.cursor.idx, note = place.querySelector("output");
        note.textContent = at == null ? "" :
          `step ${stepOf(run, self.data[0][at]).toLocaleString()}: ${Number(self.data[1][at]).toPrecision(5)}`;
      }],
    },
  }, atMost(series, 0, last, buckets), place);
  place.append(document.createElement("output"));
  plot.over.addEventListener("dblclick", () => view(run, 0, last));
  charts.push({ run, series, plot, buckets });
}

function view(run, first, last) {
  for (const one of charts.filter(chart => chart.run === run)) {
    one.plot.setData(atMost(one.series, first, last, one.buckets), false);
    one.plot.setScale("x", { min: first, max: Math.max(last, first + 1) });
  }
}

DATA.forEach((run, number) => {
  run.rows = floats(run.rows);
  run.steps = floats(run.steps);
  const last = run.rows[run.rows.length - 1];
  for (const series of run.series) {
    series.rows = floats(series.rows);
    series.values = floats(series.values);
    const place = document.createElement("div");
    document.getElementById(`run${number}`).append(place);
    draw(run, series, place);
  }
  document.querySelectorAll(`[data-run="${number}"]`).forEach(button => button.addEventListener("click", () => {
    const first = Number(button.dataset.first), end = Number(button.dataset.last);
    const margin = Math.max(40, 2 * (end - first));
    view(run, Math.max(0, first - margin), Math.min(last, end + margin));
  }));
});
window.steadytrain = { charts, view };
