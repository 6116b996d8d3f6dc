const aspects = Object.keys(data.aspects);
const source = (item) => data.root + data.names[item];
const fileName = (item) => data.names[item].split(/[\\/]/).pop() || source(item);
const folder = (item) => data.names[item].slice(0, data.names[item].length - fileName(item).length);
const judged = (item) => ({ quality: data.quality[item], low: data.low[item], high: data.high[item] });
const failed = (item) => data.quality[item] === null;
const warnings = (item) => data.warnings[item] ?? [];
const number = (values) => (item) => values[item] ?? null;
const altOf = (item) => `${shown(fileName(item))}, quality ${figure(data.quality[item])}`;

function thumb(cell, item) {
  if (data.thumbnails[item]) cell.append(picture(data.thumbnails[item], ""));
  return cell;
}
function image(cell, item) {
  cell.append(make("b", {}, shown(fileName(item))));
  const below = failed(item) ? data.errors[item] : folder(item);
  if (below) cell.append(make("small", { class: failed(item) ? "failed" : null }, shown(below)));
  cell.title = shown(source(item));
  return cell;
}
function quality(cell, item) {
  const value = data.quality[item];
  if (failed(item)) cell.append(make("span", { class: "failed" }, "error"));
  else cell.append(chip(value), `${figure(value)} `, make("span", { class: "word" }, grade(value)));
  return cell;
}
function interval(cell, item) {
  if (failed(item)) return cell;
  const { low, high } = judged(item);
  cell.append(make("span", { class: "hidden" }, `${figure(low)} to ${figure(high)}`), strip(judged(item)));
  cell.title = `${figure(low)} to ${figure(high)}`;
  return cell;
}
const aspect = (name) => (cell, item) => {
  const value = data.aspects[name][item];
  if (value !== null) cell.append(chip(value), ` ${figure(value)}`);
  return cell;
};
function notes(cell, item) {
  const [first, ...more] = warnings(item);
  if (first === undefined) return cell;
  cell.append(make("small", {}, shown(first.split(":")[0]) + (more.length ? ` (+${more.length})` : "")));
  cell.title = warnings(item).map(shown).join("\n");
  return cell;
}
const given = (there, column) => there ? [column] : [];
const columns = [
  ...given(Object.keys(data.thumbnails).length,
    { title: "Thumbnail", kind: "thumb", rank: 2, width: 3.8, silent: true, draw: thumb }),
  { title: "Image", kind: "image", rank: 0, value: (item) => data.names[item], draw: image },
  { title: "Quality", kind: "quality", rank: 1, width: 8.8, value: number(data.quality), draw: quality },
  { title: `${share(data.coverage)} interval, 1 to 5`, kind: "interval", rank: 4, width: 12, descending: true,
    value: (item) => failed(item) ? null : data.high[item] - data.low[item], draw: interval },
  ...aspects.map((name) => (
    { title: shown(name), kind: "aspect", rank: 3, width: 8.4,
      value: number(data.aspects[name]), draw: aspect(name) })),
  ...given(Object.keys(data.warnings).length,
    { title: "Warnings", kind: "notes", rank: 5, width: 16, descending: true,
      value: (item) => warnings(item).length, draw: notes }),
];

function described(item) {
  const details = data.details[item];
  const path = make("div", { class: "paths" }, make("p", { class: "path" }, shown(source(item))));
  if (failed(item)) return [path, make("p", { class: "failed" }, "Not judged: ", shown(data.errors[item]))];
  return [path, pictures(item, details), verdict(item), ...told(item, details)];
}
function pictures(item, details) {
  if (!details) {
    const small = data.thumbnails[item];
    const none = "No picture in this page: only the worst and best images have one.";
    return make("div", { class: "pictures" },
      small ? make("figure", {}, picture(small, altOf(item))) : make("p", { class: "missing" }, none));
  }
  const large = (base64, alt, caption) =>
    make("figure", { class: "large" }, picture(base64, alt), make("figcaption", {}, caption));
  return make("div", { class: "pictures" }, large(details.picture, altOf(item), "The image"),
    large(details.map, `Map of local quality: ${details.local}`, `Local quality: ${details.local}`));
}
function verdict(item) {
  const one = judged(item);
  return make("div", {},
    make("p", { class: "big" }, make("b", {}, figure(one.quality)),
      make("span", { class: "word" }, grade(one.quality)),
      make("span", {}, `${share(data.coverage)} interval ${figure(one.low)} to ${figure(one.high)}`)),
    scale(one));
}
function told(item, details) {
  const found = [];
  if (warnings(item).length) found.push(...titled("To be noted", list(warnings(item), "warned")));
  const lines = aspects.flatMap((name) => aspectLine(name, data.aspects[name][item]));
  if (lines.length) found.push(...titled("Aspects", make("dl", { class: "aspects" }, ...lines)));
  return [...found, ...(details ? explained(details) : [unexplained(item)])];
}
function unexplained(item) {
  const tried = data.inexplicable.includes(item);
  return make("p", { class: "hint" }, tried ? "This image could not be explained." : shown(data.unexplained));
}
function explained({ description, attributes, verdict: [level, worth], moves, disagreements }) {
  return [
    ...titled("What is seen", make("blockquote", {}, shown(description) || "Nothing was described.")),
    ...(attributes.length ? titled("Attributes", seen(attributes)) : []),
    ...titled(`Verdict from the description alone: ${level}, ${figure(worth)}`, list(moves, "moves")),
    ...(disagreements.length ? titled("This does not fit together", list(disagreements, "alerts")) : []),
    make("p", { class: "hint" }, `Described by ${data.explainer}; the verdict never sees the image.`),
  ];
}
function aspectLine(name, value) {
  if (value === null) return [];
  const alone = { quality: value, low: value, high: value };
  return [make("dt", {}, shown(name)), make("dd", {}, figure(value)), make("dd", {}, strip(alone))];
}
function seen(attributes) {
  const signs = { "1": ["+", "speaks for it"], "-1": ["−", "speaks against it"], "0": ["", "takes no side"] };
  const row = (one) => make("tr", {},
    make("th", { scope: "row" },
      make("span", { class: "sign", "aria-hidden": "true" }, signs[one.polarity][0]), one.name,
      make("span", { class: "hidden" }, `, ${signs[one.polarity][1]}`)),
    make("td", {}, shown(one.said)),
    make("td", { class: one.differs ? "differs" : null },
      one.measured === null ? "–" : shown(one.measured), one.differs ? " (differs)" : null));
  const heads = ["attribute", "described as", "measured as"].map((name) => make("th", { scope: "col" }, name));
  return make("table", { class: "seen" },
    make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...attributes.map(row)));
}

const panel = new Panel(described, fileName);
const grid = new Grid(columns, (items, position) => panel.open(items, position, (last) => grid.focus(last)));
filters(grid, {
  count: data.names.length, noun: "images", text: source, value: number(data.quality),
  choices: { all: () => true, failed, warned: (item) => warnings(item).length > 0, scored: (item) => !failed(item) },
});

for (const cards of document.querySelectorAll(".cards")) {
  const buttons = [...cards.querySelectorAll(".card")], items = buttons.map((button) => Number(button.dataset.item));
  buttons.forEach((button, position) => {
    const item = items[position], small = data.thumbnails[item];
    if (small) button.querySelector(".picture").replaceChildren(picture(small, ""));
    button.addEventListener("click", () => panel.open(items, position, (last) => buttons[last].focus()));
  });
}
document.body.classList.add("interactive");
