// The page: which runs are shown, how their curves are drawn, and the tables that sort.

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const { runs } = data, charts = [], cache = new Map();
  // Few runs are told apart by hue; many, as a sweep has, are a scale from low to high.
  const color = (i) => (runs.length <= 8 ? `var(--c${i})` : `color-mix(in oklch, var(--high) ${Math.round((100 * i) / (runs.length - 1))}%, var(--low))`);
  // A mean over some 2 % of the longest curve shows its course and lags little behind it.
  const longest = Math.max(1, ...runs.map((run) => run.series.train_loss?.y.length ?? 0));
  const state = {
    runs, color, shown: runs.map(() => true), view: {}, logx: false, logy: false, smooth: Math.min(0.97, +(1 - 1 / Math.max(1, longest / 50)).toFixed(2)), which: runs.length > 4 ? "val" : "both",
    redraw: (axis) => {
      for (const chart of charts) if (!axis || chart.spec.axis === axis) chart.draw();
    },
  };

  // An exponential mean that does not lean towards its first value: divided by the weight it has so far.
  function smoothed(values, key) {
    if (state.smooth === 0) return values;
    const name = `${key}:${state.smooth}`;
    if (!cache.has(name)) {
      let mean = 0, weight = 0;
      cache.set(name, values.map((value) => {
        if (value === null) return null;
        mean = state.smooth * mean + (1 - state.smooth) * value;
        weight = state.smooth * weight + (1 - state.smooth);
        return mean / weight;
      }));
    }
    return cache.get(name);
  }

  function curves(axis, columns) {
    return [...lines(axis, columns), ...(columns.some(([column]) => column.endsWith("_loss")) ? ends(axis) : [])];
  }

  // The last training loss of a run that was cut short: there a figure says so, whichever losses it shows.
  function ends(axis) {
    return runs.flatMap((run, i) => {
      const one = run.series.train_loss;
      if (!state.shown[i] || !run.fate || !one || !one[axis]) return [];
      return [{ color: color(i), label: run.name, only: true, silent: true, x: one[axis].slice(-1), y: one.y.slice(-1), fate: run.fate }];
    });
  }

  function lines(axis, columns) {
    return runs.flatMap((run, i) => (!state.shown[i] ? [] : columns.flatMap(([column, what, kind]) => {
      const one = run.series[column];
      if (!one || !one[axis]) return [];
      const base = { color: color(i), label: what ? `${run.name}, ${what}` : run.name, x: one[axis] };
      if (kind === "marks") return [{ ...base, y: one.y, marks: true }];
      if (kind === "plain") return [{ ...base, y: one.y }];
      const line = { ...base, y: smoothed(one.y, `${i}/${column}`), quiet: state.which === "both" && column === "train_loss" };
      return state.smooth && runs.length <= 8 ? [{ ...base, y: one.y, faint: true }, line] : [line];
    })));
  }

  const seconds = (most) => [[5400, 3600, "hours"], [100, 60, "minutes"], [0, 1, "seconds"]].filter(([least]) => most >= least).map(([, by, name]) => ({ by, title: `wall clock, ${name}`, name: `${name}` }))[0];
  // A loss above that of the first step is of no interest: there a run diverges. The first evaluation may be there already.
  const firsts = (unit) => runs.filter((_, i) => state.shown[i]).map((run) => (run.series.train_loss?.y[0] ?? 0) * unit(run));
  const below = (unit) => (_, ys) => {
    const first = Math.max(0, ...firsts(unit));
    return first > 0 ? Math.min(ys[ys.length - 1], 1.05 * first) : ys[ys.length - 1];
  };
  const loss = below(() => 1);
  // Bits per byte are nats per token times a number that is the text's.
  const bits = below(({ series: { bits_per_byte: a, val_loss: b } }) => (a && b && b.y[0] > 0 ? a.y[0] / b.y[0] : 0));
  // A gradient that explodes would hide all others.
  const calm = (column) => (_, ys) => {
    const values = runs.filter((run, i) => state.shown[i] && run.fate !== "diverged").flatMap((run) => run.series[column]?.y ?? []);
    const usual = values.filter((value) => value !== null).sort((a, b) => a - b);
    return 1.1 * Math.min(quantile(ys, 0.99), usual.length ? quantile(usual, 0.99) : Infinity);
  };
  const lossColumns = () => [...(state.which === "val" ? [] : [["train_loss", "training", "line"]]), ...(state.which === "train" ? [] : [["val_loss", "validation", "marks"]])];
  const specs = [
    { id: "loss-by-step", title: "Loss by step", axis: "step", x: "step", y: "loss, nats per token", curves: () => curves("step", lossColumns()), top: loss },
    { id: "loss-by-time", title: "Loss by wall clock", axis: "wallclock_time", unit: seconds, y: "loss, nats per token", curves: () => curves("wallclock_time", lossColumns()), top: loss },
    { id: "bits-by-tokens", title: "Bits per byte by tokens seen", axis: "tokens_processed", x: "tokens", y: "bits per byte", curves: () => curves("tokens_processed", [["bits_per_byte", "", "marks"]]), top: bits },
    { id: "learning-rate", title: "Learning rate", axis: "step", x: "step", y: "learning rate", curves: () => curves("step", [["lr", "", "plain"]]), zero: true },
    { id: "gradient-norm", title: "Gradient norm before clipping", axis: "step", x: "step", y: "global norm", curves: () => curves("step", [["grad_norm", "", "line"]]), top: calm("grad_norm"), zero: true },
    { id: "throughput", title: "Throughput", axis: "step", x: "step", y: "tokens per second", curves: () => curves("step", [["tokens_per_second", "", "line"]]), top: calm("tokens_per_second"), zero: true },
  ];
  if (data.against) specs.unshift(against(data.against));

  function against({ field, points }) {
    const xs = points.map((p) => p.x), log = Math.min(...xs) > 0 && Math.max(...xs) / Math.min(...xs) > 8;
    const means = [...new Set(xs)].sort((a, b) => a - b).map((x) => {
      const ys = points.filter((p) => p.x === x && p.y !== null && state.shown[p.run]).map((p) => p.y);
      return { x, y: ys.length ? ys.reduce((a, b) => a + b) / ys.length : null };
    });
    return {
      id: "final-loss", title: `Final loss by ${field}`, axis: "field", x: field, y: "validation loss, nats per token", logX: log, top: (_, ys) => quantile(ys, 1),
      curves: () => [
        { color: "var(--muted)", label: "mean", faint: true, x: means.map((p) => p.x), y: means.map((p) => p.y) },
        ...points.filter((p) => state.shown[p.run]).map((p) => ({ color: color(p.run), label: runs[p.run].name, only: true, marks: true, x: [p.x], y: [p.y], fate: p.fate })),
      ],
    };
  }

  for (const spec of specs) {
    const all = state.which;
    state.which = "both";
    if (spec.curves().some((curve) => curve.x.length)) charts.push(new Chart($("plots"), spec, state));
    state.which = all;
  }

  // --- controls
  const legend = $("legend");
  runs.forEach((run, i) => {
    const button = html("button", { type: "button", title: "Show or hide; with Shift, this one alone" }, legend);
    html("span", { className: "dot" }, button).style.setProperty("--c", color(i));
    button.append(run.name);
    button.setAttribute("aria-pressed", "true");
    button.addEventListener("click", (event) => {
      const alone = state.shown.every((shown, j) => shown === (j === i));
      state.shown = event.shiftKey ? runs.map((_, j) => alone || j === i) : state.shown.map((shown, j) => (j === i ? !shown : shown));
      [...legend.children].forEach((child, j) => child.setAttribute("aria-pressed", String(state.shown[j])));
      state.redraw();
    });
  });
  for (const dot of document.querySelectorAll("td .dot")) {
    const index = [...dot.classList].map((name) => /^c(\d+)$/.exec(name)).find(Boolean);
    if (index) dot.style.setProperty("--c", color(Number(index[1])));
  }
  const wish = (id, name, read) => {
    const input = $(id);
    input.addEventListener("input", () => {
      state[name] = read(input);
      if (name === "logx") state.view = {};
      $("smooth-value").textContent = state.smooth.toFixed(2);
      state.redraw();
    });
  };
  $("which").value = state.which;
  $("smooth").value = state.smooth;
  $("smooth-value").textContent = state.smooth.toFixed(2);
  wish("which", "which", (input) => input.value);
  wish("smooth", "smooth", (input) => Number(input.value));
  wish("logx", "logx", (input) => input.checked);
  wish("logy", "logy", (input) => input.checked);
  $("controls").hidden = charts.length === 0;

  // --- tables that sort by a click on a column's title
  const units = { k: 1e3, M: 1e6, B: 1e9, G: 1e9, T: 1e12, ms: 1e-3, s: 1, min: 60, h: 3600, days: 86400 };
  const key = (cell) => {
    const found = /^(-?[\d.,]+(?:e[-+]?\d+)?)\s*([a-zA-Z]*)$/.exec(cell.textContent.trim());
    return found ? Number(found[1].replaceAll(",", "")) * (units[found[2]] || 1) : NaN;
  };
  for (const head of document.querySelectorAll(".sortable th")) {
    head.tabIndex = 0;
    const sort = () => {
      const body = head.closest("table").tBodies[0], column = head.cellIndex, down = head.getAttribute("aria-sort") === "ascending";
      for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort((a, b) => {
        const [p, q] = [a, b].map((row) => row.cells[column]), [m, n] = [key(p), key(q)];
        return (Number.isNaN(m) || Number.isNaN(n) ? Number.isNaN(m) - Number.isNaN(n) || p.textContent.localeCompare(q.textContent) : m - n) * (down ? -1 : 1);
      });
      body.append(...rows);
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
  }
  document.documentElement.dataset.ready = String(charts.length);
})();
