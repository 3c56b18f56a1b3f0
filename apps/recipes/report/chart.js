"use strict";
// One figure: axes, curves, a crosshair with numbers, zoom along x, and the figure as a file.

const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes, parent) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  if (parent) parent.append(node);
  return node;
}

function html(name, properties, parent) {
  const node = Object.assign(document.createElement(name), properties || {});
  if (parent) parent.append(node);
  return node;
}

// Numbers as axes and people want them: 0.0003, 1,500, 40 k, 2 M.
function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e16) return value.toExponential(0).replace("e+", "e");
  for (const [unit, name] of [[1e12, " T"], [1e9, " B"], [1e6, " M"], [1e4, " k"]]) {
    if (size >= unit) return String(+(value / (unit === 1e4 ? 1e3 : unit)).toPrecision(4)) + name;
  }
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  if (size < 0.001) return value.toExponential(2).replace(/\.?0+e/, "e");
  return String(+value.toPrecision(4));
}

function exact(value) {
  const size = Math.abs(value);
  if (size !== 0 && size < 0.001) return value.toExponential(3);
  if (Number.isInteger(value)) return size < 1e16 ? value.toLocaleString("en") : value.toExponential(3);
  return size >= 1000 ? Math.round(value).toLocaleString("en") : value.toPrecision(5);
}

function linearTicks(from, to, wanted) {
  const raw = (to - from) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999) || raw;
  const ticks = [];
  for (let i = Math.ceil(from / step - 1e-9); i * step <= to + step * 1e-9; i++) ticks.push(+(i * step).toPrecision(12));
  return ticks;
}

function logTicks(from, to, wanted) {
  const first = Math.floor(Math.log10(from)), last = Math.ceil(Math.log10(to));
  for (const factors of [[1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 5], [1, 3], [1]]) {
    const ticks = [];
    for (let power = first; power <= last; power++) {
      for (const factor of factors) ticks.push(+(factor * 10 ** power).toPrecision(6));
    }
    const inside = ticks.filter((t) => t >= from * 0.999 && t <= to * 1.001);
    if (inside.length <= wanted + 1 && inside.length > 1) return inside;
  }
  const decades = Math.ceil((last - first) / Math.max(1, wanted));
  if (last - first < 2) return linearTicks(from, to, wanted).filter((t) => t > 0);
  return Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i)).filter((t, i) => i % decades === 0 && t >= from && t <= to);
}

// A scale maps a number to a place: of = number to pixel, back = pixel to number.
function scale(from, to, start, end, log) {
  const f = log ? Math.log10 : (v) => v, g = log ? (v) => 10 ** v : (v) => v;
  const a = f(from), width = f(to) - a || 1;
  return { from, to, log, of: (v) => start + ((f(v) - a) / width) * (end - start), back: (p) => g(a + ((p - start) / (end - start)) * width) };
}

function nearest(values, wanted) {
  let low = 0, high = values.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (values[middle] < wanted) low = middle; else high = middle;
  }
  return Math.abs(values[high] - wanted) < Math.abs(values[low] - wanted) ? high : low;
}

function quantile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(share * (sorted.length - 1))))];
}

class Chart {
  // spec: id, title, axis (what x is), y (title), curves(), and perhaps: unit(max), logX, logY, top(curves)
  // A curve: label, color, x, y, and perhaps marks (dots), only (no line), faint, quiet, fate (what cut it short), silent (the mark of its fate alone)
  constructor(parent, spec, state) {
    Object.assign(this, { spec, state, cross: null, drag: null });
    this.figure = html("figure", { id: spec.id }, parent);
    const head = html("div", { className: "plot-head" }, this.figure);
    html("h3", { textContent: spec.title }, head);
    const tools = html("span", { className: "plot-tools" }, head);
    this.reset = html("button", { type: "button", textContent: "Show all", hidden: true }, tools);
    this.reset.addEventListener("click", () => this.view(null));
    for (const kind of ["SVG", "PNG"]) {
      const button = html("button", { type: "button", textContent: kind, title: `Save this figure as ${kind}` }, tools);
      button.addEventListener("click", () => this.save(kind));
    }
    this.plot = html("div", { className: "plot", tabIndex: 0 }, this.figure);
    this.plot.setAttribute("role", "group");
    this.plot.setAttribute("aria-label", `${spec.title}. Arrow keys move along the curves, plus and minus zoom, Escape shows all.`);
    this.tip = html("div", { className: "tip", hidden: true }, this.plot);
    this.tip.setAttribute("aria-live", "polite");
    this.listen();
    new ResizeObserver(() => { if (this.plot.clientWidth !== this.width) this.draw(); }).observe(this.plot);
  }

  draw() {
    const { spec, state } = this;
    this.width = this.plot.clientWidth || 560;
    this.height = Math.round(Math.min(380, Math.max(230, this.width * 0.62)));
    this.curves = spec.curves().filter((curve) => curve.x.length);
    const logX = spec.logX ?? (state.logx && spec.axis !== "field"), logY = spec.logY ?? state.logy;
    const usable = (v, log) => v !== null && (!log || v > 0);
    const xs = this.curves.flatMap((c) => c.x.filter((v) => usable(v, logX)));
    let [from, to] = state.view[spec.axis] || [Math.min(...extent(xs)), Math.max(...extent(xs))];
    if (logX && !(from > 0)) from = Math.min(...xs);
    const pad = spec.axis === "field" ? (logX ? 1.15 : (to - from) * 0.04) : 0;
    if (pad && !state.view[spec.axis]) [from, to] = logX ? [from / pad, to * pad] : [from - pad, to + pad];
    if (from === to) [from, to] = logX ? [from / 2, to * 2] : [from - 1, to + 1];
    this.loud = this.curves.filter((curve) => !curve.silent);
    const ys = (this.loud.length ? this.loud : this.curves).flatMap((c) => c.y.filter((v, i) => usable(v, logY) && c.x[i] >= from && c.x[i] <= to)).sort((a, b) => a - b);
    this.root = svg("svg", { viewBox: `0 0 ${this.width} ${this.height}`, width: this.width, height: this.height, role: "img", "aria-label": spec.title });
    if (!ys.length || !Number.isFinite(from)) this.empty(); else this.axes(from, to, ys, logX, logY);
    this.plot.querySelector("svg")?.remove();
    this.plot.prepend(this.root);
    this.reset.hidden = !state.view[spec.axis];
    this.hide();
  }

  empty() {
    this.x = null;
    svg("text", { x: this.width / 2, y: this.height / 2, "text-anchor": "middle", class: "empty" }, this.root).textContent = "Nothing to draw here.";
  }

  axes(from, to, ys, logX, logY) {
    const { spec, width, height } = this;
    let low = ys[0], high = ys[ys.length - 1];
    // The first steps and a divergence would flatten everything else: they leave the figure at its top.
    const top = spec.top && this.loud.length ? spec.top(this.loud, ys) : high;
    if (top > low) high = Math.min(high, top);
    const room = logY ? (high / low) ** 0.05 : (high - low) * 0.06 || Math.abs(high) * 0.05 || 1;
    [low, high] = logY ? [low / (room > 1 ? room : 1.1), high * (room > 1 ? room : 1.1)] : [low - room, high + room];
    if (spec.zero && low < 0) low = 0;
    const bottom = height - 46, wanted = Math.max(4, Math.round(bottom / 48));
    const yTicks = (logY ? logTicks : linearTicks)(low, high, wanted);
    const left = 34 + Math.max(...yTicks.map((t) => short(t).length), 2) * 7, right = width - 14;
    const unit = spec.unit ? spec.unit(to) : { by: 1, title: spec.x };
    this.unit = unit;
    const x = (this.x = scale(from, to, left, right, logX)), y = (this.y = scale(low, high, bottom, 12, logY));
    const xTicks = (logX ? logTicks : linearTicks)(from / unit.by, to / unit.by, Math.max(3, Math.floor((right - left) / 68)));
    const grid = svg("g", {}, this.root);
    for (const tick of yTicks) {
      svg("line", { class: "gridline", x1: left, x2: right, y1: y.of(tick), y2: y.of(tick) }, grid);
      svg("text", { class: "tick", x: left - 7, y: y.of(tick) + 4, "text-anchor": "end" }, grid).textContent = short(tick);
    }
    for (const tick of xTicks) {
      const at = x.of(tick * unit.by);
      svg("line", { class: "axis", x1: at, x2: at, y1: bottom, y2: bottom + 5 }, grid);
      const label = short(tick), half = label.length * 3.4;
      svg("text", { class: "tick", x: Math.min(at, width - half - 2), y: bottom + 19, "text-anchor": "middle" }, grid).textContent = label;
    }
    svg("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }, grid);
    svg("text", { class: "axis-title", x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, grid).textContent = unit.title + (logX ? " (log)" : "");
    const middle = (12 + bottom) / 2;
    svg("text", { class: "axis-title", x: 13, y: middle, "text-anchor": "middle", transform: `rotate(-90 13 ${middle})` }, grid).textContent = spec.y + (logY ? " (log)" : "");
    const clip = `clip-${spec.id}`;
    svg("rect", { x: left - 4, y: 6, width: right - left + 8, height: bottom - 6 }, svg("clipPath", { id: clip }, svg("defs", {}, this.root)));
    this.body = svg("g", { "clip-path": `url(#${clip})` }, this.root);
    this.fates = [];
    for (const curve of this.curves) this.curve(curve, x, y);
    this.over = svg("g", {}, this.root);
  }

  curve(curve, x, y) {
    const style = { stroke: curve.color, opacity: curve.faint ? 0.22 : curve.quiet ? 0.6 : 1, strokeWidth: curve.faint ? 1 : curve.marks ? 2.1 : 1.6 };
    let path = "", pen = false;
    for (let i = 0; i < curve.x.length; i++) {
      const place = curve.y[i] === null || (y.log && curve.y[i] <= 0) || (x.log && curve.x[i] <= 0) ? null : [x.of(curve.x[i]), y.of(curve.y[i])];
      path += place ? `${pen ? "L" : "M"}${place[0].toFixed(1)} ${place[1].toFixed(1)}` : "";
      pen = Boolean(place);
    }
    if (!curve.only) Object.assign(svg("path", { class: "curve", d: path }, this.body).style, style);
    for (let i = 0; curve.marks && curve.x.length <= 120 && i < curve.x.length; i++) {
      if (curve.y[i] === null) continue;
      const dot = svg("circle", { cx: x.of(curve.x[i]), cy: y.of(curve.y[i]), r: curve.only ? 4.5 : 2.6 }, this.body);
      dot.style.fill = curve.color;
    }
    if (curve.fate) this.mark(curve, x, y);
  }

  // Where a run was cut short: at its last point, or at the top if that is out of sight or there is none.
  mark(curve, x, y) {
    const last = curve.x.length - 1, at = x.of(curve.x[last]), value = curve.y[last], top = 20;
    const height = value === null || (y.log && value <= 0) ? top : Math.max(top, y.of(value));
    const cross = svg("path", { class: "curve fate", d: `M${at - 5} ${height - 5}l10 10m0 -10l-10 10` }, this.body);
    Object.assign(cross.style, { stroke: curve.fate === "pruned" ? curve.color : "var(--bad)", strokeWidth: 2.2 });
    svg("title", {}, cross).textContent = `${curve.label}: ${curve.fate}`;
    // Words that would lie on each other are said once.
    const near = ([fate, otherAt, otherHeight]) => fate === curve.fate && Math.abs(otherAt - at) < 90 && Math.abs(otherHeight - height) < 14;
    if (this.fates.some(near)) return;
    this.fates.push([curve.fate, at, height]);
    const end = at > this.width - 100;
    svg("text", { class: "tick", x: at + (end ? -9 : 9), y: height + 4, "text-anchor": end ? "end" : "start" }, this.body).textContent = curve.fate;
  }

  // --- looking closer

  listen() {
    const { plot } = this;
    const place = (event) => event.clientX - plot.getBoundingClientRect().left;
    plot.addEventListener("pointermove", (event) => {
      if (!this.x) return;
      if (this.drag !== null && Math.abs(place(event) - this.drag) > 6) this.select(this.drag, place(event));
      else this.show(this.x.back(place(event)));
    });
    plot.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !this.x || event.target.closest("button")) return;
      this.drag = place(event);
      plot.setPointerCapture(event.pointerId);
      this.show(this.x.back(this.drag));
    });
    plot.addEventListener("pointerup", (event) => {
      const began = this.drag;
      this.drag = null;
      if (began === null || Math.abs(place(event) - began) <= 6) return;
      const ends = [began, place(event)].map((p) => Math.min(this.x.to, Math.max(this.x.from, this.x.back(p)))).sort((a, b) => a - b);
      if (ends[0] < ends[1]) this.view(ends);
    });
    plot.addEventListener("pointercancel", () => { this.drag = null; this.hide(); });
    plot.addEventListener("pointerleave", () => { if (this.drag === null) this.hide(); });
    plot.addEventListener("blur", () => this.hide());
    plot.addEventListener("dblclick", () => this.view(null));
    plot.addEventListener("keydown", (event) => {
      if (!this.x) return;
      const { from, to } = this.x, pixels = [this.x.of(from), this.x.of(to)];
      const at = this.cross ?? this.x.back((pixels[0] + pixels[1]) / 2);
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key], zoom = { "+": 0.5, "=": 0.5, "-": 2 }[event.key];
      if (move) this.show(this.x.back(Math.min(pixels[1], Math.max(pixels[0], this.x.of(at) + move * 8))));
      else if (zoom) {
        const span = ((pixels[1] - pixels[0]) * zoom) / 2;
        this.view([this.x.back(this.x.of(at) - span), this.x.back(this.x.of(at) + span)]);
        if (this.x) this.show(at);
      } else if (event.key === "Escape") this.view(null);
      else return;
      event.preventDefault();
    });
  }

  view(ends) {
    this.state.view[this.spec.axis] = ends;
    this.state.redraw(this.spec.axis);
  }

  select(a, b) {
    this.hide();
    const [left, right] = [Math.min(a, b), Math.max(a, b)];
    svg("rect", { class: "zoom", x: left, y: 6, width: right - left, height: this.height - 52 }, this.over);
  }

  hide() {
    this.cross = null;
    this.tip.hidden = true;
    this.over?.replaceChildren();
  }

  show(wanted) {
    const rows = [], { x, y } = this;
    this.over.replaceChildren();
    for (const curve of this.curves) {
      if (curve.faint || curve.silent) continue;
      const i = nearest(curve.x, wanted);
      if (curve.y[i] === null || curve.x[i] < x.from || curve.x[i] > x.to) continue;
      if (Math.abs(x.of(curve.x[i]) - x.of(wanted)) > Math.max(40, this.width * 0.1) && curve.x.length > 1) continue;
      rows.push({ curve, x: curve.x[i], y: curve.y[i] });
    }
    if (!rows.length) { this.tip.hidden = true; return; }
    this.cross = wanted;
    const closest = rows.reduce((best, row) => (Math.abs(row.x - wanted) < Math.abs(best.x - wanted) ? row : best)).x;
    svg("line", { class: "cross", x1: x.of(closest), x2: x.of(closest), y1: 8, y2: this.height - 46 }, this.over);
    for (const row of rows) {
      const at = y.of(row.y);
      if (at < 6 || at > this.height - 44) continue;
      svg("circle", { cx: x.of(row.x), cy: at, r: 3.8 }, this.over).style.fill = row.curve.color;
    }
    this.tip.replaceChildren();
    html("b", { textContent: `${this.unit.name || this.unit.title} ${exact(closest / this.unit.by)}` }, this.tip);
    for (const row of rows.sort((a, b) => b.y - a.y).slice(0, 14)) {
      const line = html("div", {}, this.tip), name = html("span", {}, line);
      html("span", { className: "dot" }, name).style.setProperty("--c", row.curve.color);
      name.append(row.curve.label + (row.x === closest || this.spec.axis === "field" ? "" : ` (at ${exact(row.x / this.unit.by)})`));
      html("span", { textContent: exact(row.y) }, line);
    }
    if (rows.length > 14) html("div", { textContent: `and ${rows.length - 14} more` }, this.tip);
    this.tip.hidden = false;
    const at = x.of(closest), room = this.tip.offsetWidth + 16;
    this.tip.style.left = `${at + room > this.width ? Math.max(0, at - room) : at + 14}px`;
    this.tip.style.top = "10px";
  }

  // --- as a file

  save(kind) {
    const copy = this.root.cloneNode(true);
    const pairs = [[this.root, copy]];
    while (pairs.length) { // a file has no style sheet: what the page decided becomes attributes
      const [old, made] = pairs.pop();
      const style = getComputedStyle(old);
      for (const name of ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-size", "font-family"]) made.setAttribute(name, style.getPropertyValue(name));
      made.removeAttribute("class");
      made.removeAttribute("style");
      [...old.children].forEach((child, i) => pairs.push([child, made.children[i]]));
    }
    copy.setAttribute("xmlns", SVG);
    const height = this.height + this.names(copy), { backgroundColor: fill } = getComputedStyle(document.body);
    copy.prepend(svg("rect", { width: this.width, height, fill }));
    copy.setAttribute("height", height);
    copy.setAttribute("viewBox", `0 0 ${this.width} ${height}`);
    const text = new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" });
    if (kind === "SVG") return offer(text, `${this.spec.id}.svg`);
    const picture = new Image(), address = URL.createObjectURL(text);
    picture.onload = () => {
      const canvas = Object.assign(document.createElement("canvas"), { width: this.width * 3, height: height * 3 });
      canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
      URL.revokeObjectURL(address);
      canvas.toBlob((blob) => offer(blob, `${this.spec.id}.png`), "image/png");
    };
    picture.src = address;
  }

  // The runs' names and colours below a figure that leaves the page; returns the room they take.
  names(copy) {
    const style = getComputedStyle(document.body), root = document.documentElement;
    const shown = this.state.runs.map((run, i) => [run.name, i]).filter(([, i]) => this.state.shown[i]);
    shown.forEach(([name, i], row) => {
      const probe = html("span", {}, root); // what the colour is here, as a number
      probe.style.color = this.state.color(i);
      const y = this.height + 12 + row * 18;
      svg("circle", { cx: 20, cy: y - 4, r: 4.5, fill: getComputedStyle(probe).color }, copy);
      probe.remove();
      svg("text", { x: 32, y, fill: style.color, "font-size": 12, "font-family": style.fontFamily }, copy).textContent = name;
    });
    return shown.length * 18 + 8;
  }
}

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
  return [low, high];
}

function offer(blob, name) {
  const link = html("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
