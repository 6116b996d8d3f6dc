const data = JSON.parse(document.getElementById("data").textContent);
const LOWEST = 1, HIGHEST = 5;
const at = (id) => document.getElementById(id);

/* Elements. What comes from files only ever enters as text, so that no name can become markup. */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

/* Control codes, stray bytes and marks that turn the direction of text, made visible. */
const HIDDEN = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;
const shown = (text) => text.replace(HIDDEN, (mark) => {
  const code = mark.codePointAt(0).toString(16);
  if (code.length > 4) return `\\U${code.padStart(8, "0")}`;
  return code.length > 2 ? `\\u${code.padStart(4, "0")}` : `\\x${code.padStart(2, "0")}`;
});
const counted = (number) => number.toLocaleString("en-US");
const signed = (number) => (number < 0 ? "−" : number > 0 ? "+" : "") + Math.abs(number).toFixed(2);
const figure = (number) => number.toFixed(2);
const share = (part) => `${+(100 * part).toFixed(1)} %`;

/* The scale of quality: the same colours as everywhere in Foveal, mixed between the stops. */
const STOPS = data.stops.map((stop) => [1, 3, 5].map((i) => parseInt(stop.slice(i, i + 2), 16)));
function colour(quality) {
  const place = Math.min(Math.max((quality - LOWEST) / (HIGHEST - LOWEST), 0), 1) * (STOPS.length - 1);
  const low = Math.min(Math.floor(place), STOPS.length - 2), part = place - low;
  const mixed = STOPS[low].map((value, i) => Math.round(value + part * (STOPS[low + 1][i] - value)));
  return `rgb(${mixed.join(" ")})`;
}
const across = (quality) => 100 * (quality - LOWEST) / (HIGHEST - LOWEST);
const grade = (quality) => data.grades[Math.min(4, Math.max(0, Math.trunc(quality - 0.5)))];
function chip(quality) {
  const mark = make("span", { class: "chip", "aria-hidden": "true" });
  mark.style.background = colour(quality);
  return mark;
}
function strip(judged, was = null) {
  const reach = make("i", { class: "reach" }), dot = make("i", { class: "dot" });
  reach.style.left = `${across(judged.low)}%`;
  reach.style.width = `${across(judged.high) - across(judged.low)}%`;
  dot.style.left = `${across(judged.quality)}%`;
  dot.style.background = colour(judged.quality);
  const before = was === null ? null : make("i", { class: "was" });
  if (before) before.style.left = `${across(was)}%`;
  return make("span", { class: "strip", "aria-hidden": "true" }, reach, before, dot);
}
function ramp() {
  const bar = make("div", { class: "ramp" });
  bar.style.background = `linear-gradient(to right, ${data.stops.join(", ")})`;
  return bar;
}
const ticks = () => make("div", { class: "ticks", "aria-hidden": "true" },
  ...["1 bad", "2", "3", "4", "5 excellent"].map((value) => make("span", {}, value)));
const scale = (judged, was = null) => make("div", { class: "scale" }, strip(judged, was), ramp(), ticks());
const picture = (base64, alt) => make("img", { src: `data:image/jpeg;base64,${base64}`, alt, decoding: "async" });
const titled = (title, ...content) => [make("h3", {}, title), ...content];
const list = (items, kind) => make("ul", { class: kind }, ...items.map((item) => make("li", {}, shown(item))));

/* A table of any length: rows have one height, and only those in sight are there. */
const BEYOND_SIGHT = 8, PRINTED = 1000, PAPER = 56; // rows, rows, rem
class Grid {
  constructor(columns, open) {
    this.all = columns;
    this.columns = [];
    this.open = open;
    this.items = [];
    this.sorted = { column: null, descending: false };
    this.active = 0;
    this.rows = new Map();
    this.scroller = at("scroll");
    this.scroller.hidden = false;
    this.table = at("table");
    this.body = this.table.tBodies[0];
    this.gaps = [0, 1].map(() => make("tr", { class: "gap", "aria-hidden": "true" }, make("td")));
    this.body.append(...this.gaps);
    this.heads = this.table.tHead.appendChild(make("tr", { "aria-rowindex": 1 }));
    for (const column of columns) this.head(column);
    this.measure();
    this.scroller.addEventListener("scroll", () => this.draw(), { passive: true });
    this.scroller.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("click", (event) => this.click(event));
    this.body.addEventListener("focusin", (event) => this.focused(event));
    new ResizeObserver(() => { this.measure(); this.draw(); }).observe(this.scroller);
    addEventListener("beforeprint", () => this.print(true));
    addEventListener("afterprint", () => this.print(false));
  }

  measure() {
    const unit = parseFloat(getComputedStyle(document.documentElement).fontSize);
    this.height = Math.round(3.25 * unit);
    this.table.style.setProperty("--row", `${this.height}px`);
    this.fit(this.printing ? PAPER : this.scroller.clientWidth / unit);
  }

  /* As many columns as there is room for, the most important first; the one without a width takes the rest. */
  fit(room) {
    let left = room - Math.max(7.5, room / 4);
    const kept = new Set();
    for (const column of [...this.all].sort((a, b) => a.rank - b.rank)) {
      if ((column.width ?? 0) > left) continue;
      left -= column.width ?? 0;
      kept.add(column);
    }
    if (kept.size === this.columns.length && this.columns.every((column) => kept.has(column))) return;
    this.columns = this.all.filter((column) => kept.has(column));
    this.heads.replaceChildren(...this.columns.map((column) => column.cell));
    this.clear();
  }

  clear() {
    const held = this.body.contains(document.activeElement);
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    if (held) this.scroller.focus({ preventScroll: true });
  }

  head(column) {
    const sorted = column.value ? "none" : null;
    column.cell = make("th", { scope: "col", class: column.kind, "aria-sort": sorted });
    if (column.width) column.cell.style.width = `${column.width}rem`;
    if (!column.value) {
      const title = make("span", { class: column.silent ? "hidden" : null }, column.title);
      column.cell.append(make("span", { class: "head" }, title));
      return;
    }
    const arrow = make("span", { class: "arrow", "aria-hidden": "true" });
    const button = make("button", { type: "button" }, column.title, arrow);
    button.addEventListener("click", () => this.sort(column));
    column.cell.append(button);
  }

  sort(column, descending = null) {
    const again = this.sorted.column === column;
    descending ??= again ? !this.sorted.descending : Boolean(column.descending);
    this.sorted = { column, descending };
    const way = descending ? "descending" : "ascending";
    for (const other of this.all) {
      if (other.value) other.cell.setAttribute("aria-sort", other === column ? way : "none");
    }
    this.show(this.items);
  }

  /* Show these items, sorted as asked for; what has no value comes last, whichever way. */
  show(items) {
    const { column, descending } = this.sorted;
    this.items = items.slice();
    if (column) {
      const keys = new Map(this.items.map((item) => [item, column.value(item)]));
      const order = new Intl.Collator("en", { numeric: true });
      this.items.sort((a, b) => {
        const x = keys.get(a), y = keys.get(b);
        if (x === null || y === null) return (x === null) - (y === null) || a - b;
        const way = typeof x === "string" ? order.compare(x, y) : x - y;
        return (descending ? -way : way) || a - b;
      });
    }
    this.clear();
    this.active = 0;
    this.scroller.scrollTop = 0;
    this.table.setAttribute("aria-rowcount", this.items.length + 1);
    this.table.hidden = this.items.length === 0;
    at("nothing").hidden = this.items.length > 0;
    this.draw();
  }

  inSight() {
    if (this.printing) return [0, Math.min(this.items.length, PRINTED)];
    const first = Math.floor(this.scroller.scrollTop / this.height) - BEYOND_SIGHT;
    const last = Math.ceil((this.scroller.scrollTop + this.scroller.clientHeight) / this.height) + BEYOND_SIGHT;
    return [Math.max(0, Math.min(first, this.items.length)), Math.min(this.items.length, last)];
  }

  draw() {
    const [first, last] = this.inSight();
    for (const [position, row] of this.rows) {
      if (position >= first && position < last) continue;
      if (row === document.activeElement) this.scroller.focus({ preventScroll: true });
      row.remove();
      this.rows.delete(position);
    }
    let next = this.gaps[0].nextSibling;
    for (let position = first; position < last; position++) {
      const there = this.rows.get(position);
      if (there) next = there.nextSibling;
      else this.rows.set(position, this.body.insertBefore(this.row(position), next));
    }
    this.gaps[0].firstChild.style.height = `${first * this.height}px`;
    this.gaps[1].firstChild.style.height = `${this.printing ? 0 : (this.items.length - last) * this.height}px`;
    this.mark();
  }

  /* One row can be reached by Tab: the active one, or the first in sight where that one is not there. */
  mark() {
    const top = Math.min(this.items.length - 1, Math.ceil(this.scroller.scrollTop / this.height));
    const reachable = this.rows.has(this.active) ? this.active : top;
    for (const [position, row] of this.rows) row.tabIndex = position === reachable ? 0 : -1;
  }

  row(position) {
    const item = this.items[position];
    const row = make("tr", { "aria-rowindex": position + 2 },
      ...this.columns.map((column) => column.draw(make("td", { class: column.kind }), item)));
    row.position = position;
    return row;
  }

  focused(event) {
    const row = event.target.closest("tr");
    if (row?.position !== undefined) { this.active = row.position; this.mark(); }
  }

  click(event) {
    const row = event.target.closest("tr");
    if (row?.position !== undefined) { this.active = row.position; this.open(this.items, row.position); }
  }

  key(event) {
    if (event.target.closest("thead") || event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / this.height) - 2);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in steps) this.focus(this.active + steps[event.key]);
    else if (event.key === "Enter" || event.key === " ") this.open(this.items, this.active);
    else return;
    event.preventDefault();
  }

  focus(position) {
    if (!this.items.length) return;
    this.active = Math.max(0, Math.min(this.items.length - 1, position));
    const top = this.active * this.height, room = this.scroller.clientHeight - this.table.tHead.offsetHeight;
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = top;
    else if (top + this.height > this.scroller.scrollTop + room) this.scroller.scrollTop = top + this.height - room;
    this.draw();
    this.rows.get(this.active).focus({ preventScroll: false });
  }

  print(on) {
    this.printing = on;
    this.measure();
    const left = this.items.length - PRINTED;
    const [some, all] = [PRINTED, this.items.length].map(counted);
    at("printed").textContent = on && left > 0 ? `Printed: the first ${some} of ${all} rows.` : "";
    this.draw();
  }
}

/* What the filters above the table let through. */
function filters(grid, { count, text, value, choices, noun }) {
  const haystack = Array.from({ length: count }, (_, item) => text(item).toLowerCase());
  const [find, from, to, only, form] = ["find", "from", "to", "only", "tools"].map(at);
  const bound = (input, otherwise) => Number.isFinite(input.valueAsNumber) ? input.valueAsNumber : otherwise;
  function apply() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const low = bound(from, -Infinity), high = bound(to, Infinity), ranged = low > -Infinity || high < Infinity;
    const wanted = choices[only.value];
    const items = [];
    for (let item = 0; item < count; item++) {
      const number = value(item);
      if (ranged && (number === null || number < low || number > high)) continue;
      if (wanted(item) && words.every((word) => haystack[item].includes(word))) items.push(item);
    }
    grid.show(items);
    at("count").value = `${items.length === count ? "" : `${counted(items.length)} of `}${counted(count)} ${noun}`;
  }
  let waiting = 0;
  const soon = () => { clearTimeout(waiting); waiting = setTimeout(apply, 80); };
  for (const input of [find, from, to]) input.addEventListener("input", soon);
  only.addEventListener("change", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = at("hint").hidden = false;
  for (const bin of document.querySelectorAll(".bin")) {
    bin.addEventListener("click", () => {
      [from.value, to.value] = [bin.dataset.low, bin.dataset.high].map((end) => +(+end).toFixed(2));
      apply();
      at("table-title").scrollIntoView({ block: "start" });
    });
  }
  apply();
}

/* The panel about one image or pair, with its neighbours in the list from which it was opened. */
class Panel {
  constructor(describe, name) {
    this.dialog = at("panel");
    this.describe = describe;
    this.name = name;
    at("previous").addEventListener("click", () => this.step(-1));
    at("next").addEventListener("click", () => this.step(1));
    at("close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("click", (event) => { if (event.target === this.dialog) this.dialog.close(); });
    this.dialog.addEventListener("close", () => this.back(this.position));
    this.dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") this.step(-1);
      else if (event.key === "ArrowRight") this.step(1);
    });
  }

  open(items, position, back) {
    this.items = items;
    this.back = back;
    this.to(position);
    if (!this.dialog.open) this.dialog.showModal();
    at("panel-title").focus();
  }

  step(by) {
    const position = this.position + by;
    if (position < 0 || position >= this.items.length) return;
    this.to(position);
    if (document.activeElement.disabled) at("panel-title").focus(); // else keys would go nowhere
  }

  to(position) {
    this.position = position;
    const item = this.items[position];
    at("panel-title").textContent = shown(this.name(item));
    at("place").textContent = `${counted(position + 1)} of ${counted(this.items.length)}`;
    at("previous").disabled = position === 0;
    at("next").disabled = position === this.items.length - 1;
    at("panel-body").replaceChildren(...this.describe(item).flat().filter(Boolean));
    this.dialog.scrollTop = 0;
  }
}

/* Light or dark: as the system has it, unless the button says otherwise. */
(function theme() {
  const root = document.documentElement, button = at("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  function label() {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `${button.textContent} colours`);
  }
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    label();
  });
  system.addEventListener("change", label);
  button.hidden = false;
  label();
})();
