const [OLD, NEW] = data.sides;
const failed = (item) => data.difference[item] === null;
const name = (item) => data.names[item];
const fileName = (item) => name(item).split(/[\\/]/).pop() || name(item);
const source = (side, item) => side.root + side.sources[item];
const judged = (side, item) => ({ quality: side.quality[item], low: side.low[item], high: side.high[item] });
const beyond = new Set(data.beyond);
const reach = data.difference.reduce((most, one) => Math.max(most, Math.abs(one ?? 0)), 0.1);
const pictureOf = (item, which) => data.pictures[2 * item + (data.same ? 0 : which)];
const paths = (item) => [...new Set([source(OLD, item), source(NEW, item)])];

function thumbs(cell, item) {
  for (const which of data.same ? [0] : [0, 1]) {
    const small = pictureOf(item, which);
    if (small) cell.append(picture(small, ""));
  }
  return cell;
}
function image(cell, item) {
  const file = fileName(item), folder = name(item).slice(0, name(item).length - file.length);
  const error = OLD.errors[item] ?? NEW.errors[item];
  cell.append(make("b", {}, shown(file)));
  const below = error ?? folder;
  if (below) cell.append(make("small", { class: error === undefined ? null : "failed" }, shown(below)));
  cell.title = paths(item).map(shown).join("\n");
  return cell;
}
const quality = (side) => (cell, item) => {
  const value = side.quality[item];
  cell.append(...value === null ? [make("span", { class: "failed" }, "error")] : [chip(value), figure(value)]);
  return cell;
};
function change(cell, item) {
  if (!failed(item)) cell.append(signed(data.difference[item]));
  return cell;
}
function bars(cell, item) {
  const difference = data.difference[item];
  if (!difference) return cell;
  const bar = make("i", { class: difference > 0 ? "up" : "down" });
  bar.style.left = `${difference > 0 ? 50 : 50 + 50 * difference / reach}%`;
  bar.style.width = `${50 * Math.abs(difference) / reach}%`;
  cell.append(make("span", { class: "swing", "aria-hidden": "true" }, bar));
  return cell;
}
function outside(cell, item) {
  if (beyond.has(item)) cell.append("beyond both");
  return cell;
}
const drawn = Object.keys(data.pictures).length > 0;
const columns = [
  ...(drawn
    ? [{ title: "Pictures", kind: "thumb", rank: 2, width: data.same ? 3.8 : 6.8, silent: true, draw: thumbs }] : []),
  { title: "Image", kind: "image", rank: 0, value: name, draw: image },
  { title: "Old", kind: "side", rank: 3, width: 6, value: (item) => OLD.quality[item], draw: quality(OLD) },
  { title: "New", kind: "side", rank: 3, width: 6, value: (item) => NEW.quality[item], draw: quality(NEW) },
  { title: "Difference", kind: "change number", rank: 1, width: 6.8, descending: true,
    value: (item) => data.difference[item], draw: change },
  { title: "Amount", kind: "bars", rank: 4, width: 12, descending: true,
    value: (item) => failed(item) ? null : Math.abs(data.difference[item]), draw: bars },
  { title: "Intervals", kind: "beyond", rank: 5, width: 8, descending: true,
    value: (item) => failed(item) ? null : Number(beyond.has(item)), draw: outside },
];

function described(item) {
  const sides = [OLD, NEW].map((side, which) =>
    ({ side, which, label: `${["Old", "New"][which]}: ${shown(data.labels[which])}`, model: data.models[which] }));
  const lines = paths(item).map((path) => make("p", { class: "path" }, shown(path)));
  return [make("div", { class: "paths" }, ...lines), pictures(item, sides), outcome(item),
    ...sides.flatMap((one) => judgement(item, one)), ...scales(item)];
}
function pictures(item, sides) {
  const figures = (data.same ? sides.slice(0, 1) : sides).map(({ which, label }) => {
    const small = pictureOf(item, which), caption = data.same ? "The image" : label;
    const none = "No picture in this page: only the pairs that changed most have them.";
    const there = small
      ? picture(small, `${caption}, ${shown(fileName(item))}`) : make("p", { class: "missing" }, none);
    return make("figure", {}, there, make("figcaption", {}, caption));
  });
  return make("div", { class: data.same ? "pictures" : "pictures compared" }, ...figures);
}
function outcome(item) {
  if (failed(item)) return null;
  const said = beyond.has(item) ? "beyond both intervals" : "within the intervals";
  return make("p", { class: "big" }, make("b", {}, signed(data.difference[item])),
    make("span", { class: "word" }, "new less old"), make("span", {}, said));
}
function judgement(item, { side, which, label, model }) {
  if (side.quality[item] === null) {
    return titled(label, make("p", { class: "failed" }, "Not judged: ", shown(side.errors[item])));
  }
  const one = judged(side, item), noted = side.warnings[item];
  const reaches = `${share(data.coverages[which])} interval ${figure(one.low)} to ${figure(one.high)}`;
  const line = make("p", {}, chip(one.quality), ` ${figure(one.quality)} ${grade(one.quality)}, ${reaches}`,
    make("span", { class: "quiet" }, ` (${model})`));
  return titled(label, line, strip(one), noted ? list(noted, "warned") : null);
}
function scales(item) {
  if (failed(item)) return [];
  return titled("From old (ring) to new (dot)", scale(judged(NEW, item), OLD.quality[item]));
}

const panel = new Panel(described, fileName);
const grid = new Grid(columns, (items, position) => panel.open(items, position, (last) => grid.focus(last)));
filters(grid, {
  count: data.names.length, noun: "pairs", text: (item) => paths(item).join("\n"),
  value: (item) => data.difference[item],
  choices: { all: () => true, failed, beyond: (item) => beyond.has(item),
    higher: (item) => data.difference[item] > 0, lower: (item) => data.difference[item] < 0 },
});
grid.sort(columns.find((column) => column.title === "Amount"), true);

/* A click near a point of the scatter plot opens its pair; the table does the same for keyboards. */
const plot = at("scatter");
plot?.addEventListener("click", (event) => {
  const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(plot.getScreenCTM().inverse());
  const [side, margin] = [plot.dataset.side, plot.dataset.margin].map(Number);
  const x = LOWEST + 4 * (place.x - margin) / side, y = HIGHEST - 4 * (place.y - margin) / side;
  const far = (item) => failed(item) ? Infinity : Math.hypot(OLD.quality[item] - x, NEW.quality[item] - y);
  let nearest = 0;
  for (let item = 1; item < data.names.length; item++) if (far(item) < far(nearest)) nearest = item;
  if (far(nearest) < 0.15) panel.open([nearest], 0, () => at("table-title").focus());
});
document.body.classList.add("interactive");
