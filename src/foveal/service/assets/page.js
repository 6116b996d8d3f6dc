"use strict";
(() => {
  const settings = "{{settings}}";
  const WORDS = ["bad", "poor", "fair", "good", "excellent"];
  const AT_ONCE = 3; // requests of this page in flight
  const PREVIEWS = 2; // images decoded at once: a large one takes hundreds of megabytes
  const TRIES = 6; // of a request that the service is too busy for
  const MOVED = 0.01; // changes of a verdict up to this size move nothing
  const THUMB = 640; // pixels of a thumbnail's longer side
  const TOKEN = "foveal-token";
  const SVG = "http://www.w3.org/2000/svg";
  const $ = (id) => document.getElementById(id);

  let token = sessionStorage.getItem(TOKEN) || "";
  let models = [];
  let added = 0;
  const images = new Map(); // by id: {id, file, url, name, prompt, model, result, error, card, chosen}

  // ---- Elements. Texts become text nodes only: nothing that comes from outside is ever read as HTML.

  function make(tag, attributes = {}, ...children) {
    const element = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  const two = (value) => value.toFixed(2);
  const signed = (value) => (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(2);
  const wordOf = (quality) => WORDS[Math.min(4, Math.max(0, Math.floor(quality - 0.5)))];
  const percent = (share) => Math.round(100 * share) + " %";
  const say = (text) => { $("live").textContent = text; };

  // Starts tasks in their order, so many of them at once.
  function inTurns(most) {
    const waiting = [];
    let running = 0;
    const next = () => {
      while (running < most && waiting.length) {
        running += 1;
        waiting.shift()().finally(() => { running -= 1; next(); });
      }
    };
    return (task) => { waiting.push(task); next(); };
  }

  const judging = inTurns(AT_ONCE), previewing = inTurns(PREVIEWS);

  function setState(text, ready = false) {
    $("state").textContent = text;
    $("state").classList.toggle("ready", ready);
  }

  // ---- The service.

  class Fault extends Error {
    constructor(message, code, status, after) {
      super(message);
      Object.assign(this, { code, status, after });
    }
  }

  async function call(path, options = {}) {
    const headers = token ? { Authorization: "Bearer " + token } : {};
    let reply;
    try {
      reply = await fetch(path, { ...options, headers, cache: "no-store" });
    } catch {
      throw new Fault("The service cannot be reached.", "unreachable", 0);
    }
    const body = await reply.json().catch(() => null);
    if (reply.ok && body) return body;
    const told = (body && body.results && body.results.length === 1 && body.results[0].error) || (body && body.error) || {};
    const after = Number(reply.headers.get("Retry-After")) || 0;
    throw new Fault(told.message || "The service answered with status " + reply.status + ".", told.code, reply.status, after);
  }

  async function patiently(path, makeOptions) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await call(path, makeOptions());
      } catch (fault) {
        if (fault.status === 401) await tokenGiven(fault);
        else if (attempt >= TRIES || (fault.status !== 429 && fault.code !== "starting")) throw fault;
        else await new Promise((wake) => setTimeout(wake, 1000 * Math.min(20, fault.after || 1)));
      }
    }
  }

  let tokenWaiters = [];

  function tokenGiven(fault) {
    if ($("token-form").hidden) {
      setState("Token needed");
      $("token-note").textContent = token ? "That token was refused." : "It is kept in this tab until you close it.";
      $("token-form").hidden = false;
      $("token").value = "";
      $("token").focus();
      say(token ? "The token was refused." : "The service asks for a token.");
    }
    return new Promise((resolve) => tokenWaiters.push(resolve));
  }

  $("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    token = $("token").value.trim();
    sessionStorage.setItem(TOKEN, token);
    $("token-form").hidden = true;
    const waiters = tokenWaiters;
    tokenWaiters = [];
    waiters.forEach((resolve) => resolve());
    if (models.length) setState("Ready", true);
  });

  async function connect() {
    try {
      models = (await patiently("/v1/models", () => ({}))).models;
    } catch (fault) {
      setState(fault.message);
      return;
    }
    setState("Ready", true);
    $("model").replaceChildren(...models.map((model) => make("option", { value: model.model }, model.model)));
    $("model-box").hidden = models.length < 2;
    modelChanged();
  }

  const chosenModel = () => models.find((model) => model.model === $("model").value);

  function modelChanged() {
    $("prompt-box").hidden = !(chosenModel() && chosenModel().reads_prompts);
  }

  // ---- Taking images in.

  function take(files) {
    const found = [...files].filter((file) => file.size > 0 || file.type);
    if (!found.length) return;
    for (const file of found) {
      added += 1;
      const image = {
        id: added, file, name: file.name || "pasted image", url: URL.createObjectURL(file), model: null, prompt: null,
        result: null, error: null, chosen: false,
      };
      chooseModel(image);
      image.card = make("li", { class: "card" });
      images.set(image.id, image);
      $("cards").append(image.card);
      previewing(() => preview(image));
      draw(image);
      if (file.size > settings.maxImage) fail(image, "The file has more than " + Math.floor(settings.maxImage / 2 ** 20) + " MiB, the limit of this service.");
      else judging(() => judge(image));
    }
    $("results").hidden = false;
    $("drop").classList.add("small");
    summarise();
  }

  // Images may be here before the models are known: while the token is typed.
  function chooseModel(image) {
    if (image.model || !chosenModel()) return;
    image.model = chosenModel();
    image.prompt = image.model.reads_prompts ? $("prompt").value : null;
  }

  function form(image, more = {}) {
    const data = new FormData();
    data.append("image", image.file, image.name.slice(-settings.maxName));
    if (image.model) data.append("model", image.model.model);
    if (image.prompt !== null) data.append("prompt", image.prompt);
    for (const [name, value] of Object.entries(more)) data.append(name, value);
    return { method: "POST", body: data };
  }

  async function judge(image) {
    await connected;
    if (!images.has(image.id)) return; // removed before its turn came
    chooseModel(image);
    try {
      const answer = await patiently("/v1/score", () => form(image));
      image.result = answer.results[0];
      say(image.name + ": " + two(image.result.quality) + ", " + wordOf(image.result.quality));
      draw(image);
    } catch (fault) {
      fail(image, fault.message);
    }
    arrange();
    summarise();
  }

  function fail(image, message) {
    image.error = message;
    say(image.name + ": " + message);
    draw(image);
  }

  async function preview(image) {
    if (!images.has(image.id)) return;
    try {
      const whole = await createImageBitmap(image.file);
      const scale = Math.min(1, THUMB / Math.max(whole.width, whole.height));
      const canvas = make("canvas", { role: "img", "aria-label": image.name });
      canvas.width = Math.max(1, Math.round(whole.width * scale));
      canvas.height = Math.max(1, Math.round(whole.height * scale));
      const context = canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(whole, 0, 0, canvas.width, canvas.height);
      whole.close();
      image.thumb = canvas;
    } catch {
      image.thumb = null; // a format that this browser cannot show, or no image at all
    }
    image.previewed = true;
    draw(image);
  }

  // ---- Cards.

  function draw(image) {
    const thumb = make("div", { class: "thumb" }, image.thumb || make("span", {}, image.previewed ? "no preview" : ""));
    const inside = make("div", { class: "inside" }, make("h3", { class: "name", title: image.name }, image.name));
    if (image.result) inside.append(...judged(image.result));
    else if (image.error) inside.append(make("p", { class: "fault" }, image.error));
    else inside.append(make("p", { class: "waiting busy" }, "Judging \u2026"));
    inside.append(buttons(image));
    const focused = image.card.contains(document.activeElement) ? document.activeElement.dataset.act : null;
    image.card.replaceChildren(thumb, inside);
    if (focused) image.card.querySelector('[data-act="' + focused + '"]')?.focus();
  }

  function judged(result) {
    const aspects = Object.entries(result.aspects);
    return [
      make("p", { class: "score" }, make("b", {}, two(result.quality)), make("span", {}, wordOf(result.quality)),
        make("small", {}, percent(result.coverage) + ": " + two(result.interval[0]) + " to " + two(result.interval[1]))),
      scale(result.quality, result.interval),
      aspects.length ? make("dl", { class: "aspects" }, ...aspects.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, two(value))])) : null,
      result.warnings.length ? make("ul", { class: "notes" }, ...result.warnings.map((text) => make("li", {}, "Note: " + text))) : null,
    ].filter(Boolean);
  }

  function scale(quality, [low, high]) {
    const left = 8, width = 304, x = (value) => left + (width * (value - 1)) / 4;
    const told = "Quality " + two(quality) + " of 5, " + wordOf(quality) + "; interval " + two(low) + " to " + two(high);
    const ticks = [1, 2, 3, 4, 5].flatMap((value) => {
      const anchor = value === 1 ? "start" : value === 5 ? "end" : "middle";
      const at = value === 1 ? left - 4 : value === 5 ? left + width + 4 : x(value);
      const text = value === 1 ? "1 bad" : value === 5 ? "5 excellent" : String(value);
      return [
        make("svg:line", { class: "tick", x1: x(value), x2: x(value), y1: 25, y2: 30 }),
        make("svg:text", { x: at, y: 43, "text-anchor": anchor }, text),
      ];
    });
    return make("svg:svg", { class: "scale", viewBox: "0 0 320 46", role: "img", "aria-label": told },
      make("svg:rect", { x: left, y: 9, width, height: 13, rx: 3, fill: "url(#ramp)" }),
      ...ticks,
      make("svg:rect", { class: "interval", x: x(low), y: 5, width: Math.max(2, x(high) - x(low)), height: 21, rx: 5 }),
      make("svg:circle", { class: "dot", cx: x(quality), cy: 15.5, r: 7 }));
  }

  function buttons(image) {
    const row = make("div", { class: "buttons" });
    if (image.result && settings.explains && image.model && image.model.explains)
      row.append(make("button", { type: "button", "data-act": "why", "aria-label": "Explain " + image.name, onclick: () => explain(image) }, "Explain"));
    if (image.result)
      row.append(make("button", { type: "button", "data-act": "pick", "aria-pressed": String(image.chosen), "aria-label": "Compare " + image.name, onclick: () => pick(image) }, "Compare"));
    row.append(make("button", { type: "button", "data-act": "remove", "aria-label": "Remove " + image.name, onclick: () => remove(image) }, "Remove"));
    return row;
  }

  function remove(image) {
    const next = image.card.nextElementSibling || image.card.previousElementSibling;
    images.delete(image.id);
    URL.revokeObjectURL(image.url);
    image.card.remove();
    (next?.querySelector('[data-act="remove"]') || $("choose")).focus();
    summarise();
  }

  function pick(image) {
    image.chosen = !image.chosen;
    const chosen = [...images.values()].filter((one) => one.chosen);
    if (chosen.length > 2) { // the one that was chosen first makes room
      const first = chosen.filter((one) => one !== image).sort((a, b) => a.chosenAt - b.chosenAt)[0];
      first.chosen = false;
      draw(first);
    }
    image.chosenAt = performance.now();
    draw(image);
    summarise();
  }

  function summarise() {
    const all = [...images.values()];
    const done = all.filter((one) => one.result), failed = all.filter((one) => one.error);
    const parts = [done.length + " judged"];
    if (failed.length) parts.push(failed.length + " failed");
    if (done.length + failed.length < all.length) parts.push(all.length - done.length - failed.length + " to come");
    if (done.length > 1) parts.push("mean " + two(done.reduce((sum, one) => sum + one.result.quality, 0) / done.length));
    $("summary").textContent = parts.join(", ");
    $("compare-open").disabled = all.filter((one) => one.chosen).length !== 2;
    $("results").hidden = !all.length;
    $("drop").classList.toggle("small", all.length > 0);
  }

  function arrange() {
    const kind = $("order").value, sign = kind === "worst" ? 1 : -1;
    const rank = (one) => (one.result ? sign * one.result.quality : Infinity);
    const sorted = [...images.values()].sort((a, b) => (kind === "added" ? 0 : rank(a) - rank(b)) || a.id - b.id);
    const cards = sorted.map((one) => one.card);
    if (cards.some((card, place) => $("cards").children[place] !== card)) $("cards").append(...cards);
  }

  // ---- Explanations.

  async function explain(image) {
    $("why-title").textContent = image.name;
    $("why-body").replaceChildren(make("p", { class: "waiting busy", role: "status" }, "Looking for reasons \u2026"));
    $("why").showModal();
    try {
      image.why ||= (await patiently("/v1/explain", () => form(image, { map: "false" }))).results[0];
      if ($("why").open && $("why-title").textContent === image.name) $("why-body").replaceChildren(...reasons(image, image.why));
    } catch (fault) {
      $("why-body").replaceChildren(make("p", { class: "fault", role: "alert" }, fault.message));
    }
  }

  function reasons(image, why) {
    const notes = [...why.disagreements.map((one) => one.text), ...why.warnings];
    const text = make("div", {},
      make("p", { class: "score" }, make("b", {}, two(why.quality)), make("span", {}, wordOf(why.quality))),
      scale(why.quality, why.interval),
      make("h3", {}, "What is seen"),
      make("blockquote", {}, why.description || "(nothing was described)"),
      make("h3", {}, "Verdict from the description alone: " + why.verdict.level + ", " + two(why.verdict.quality)),
      levels(why.verdict));
    const parts = [make("div", { class: "why" }, mapFigure(image, why.map), text)];
    if (notes.length) parts.unshift(make("div", { class: "alert" }, make("strong", {}, "To be noted"), make("ul", {}, ...notes.map((note) => make("li", {}, note)))));
    if (why.attributes.length) parts.push(table(why.attributes));
    parts.push(make("p", { class: "quiet" }, "Score: " + why.assessor + ". Words, verdict and map: " + why.model + ". The verdict comes from the words alone."));
    return parts;
  }

  function levels(verdict) {
    return make("dl", { class: "levels" }, ...Object.entries(verdict.probabilities).flatMap(([word, share]) => {
      const bar = make("i");
      bar.style.width = 100 * share + "%";
      return [make("dt", { class: word === verdict.level ? "likeliest" : null }, word), make("dd", { class: "track", "aria-hidden": "true" }, bar), make("dd", {}, percent(share))];
    }));
  }

  function table(attributes) {
    const change = (list, direction) => {
      const best = list.reduce((most, one) => (direction * one.change > direction * most.change ? one : most), { change: direction * MOVED });
      return best.phrase ? signed(best.change) + " if " + best.phrase : "";
    };
    const signs = { 1: ["+", "speaks for it"], 0: ["", "takes no side"], "-1": ["\u2212", "speaks against it"] };
    const told = (one) => (one ? one.phrase + (one.place ? " (" + one.place + ")" : "") : "");
    const rows = attributes.map((one) => make("tr", {},
      make("th", { scope: "row" }, one.attribute.replaceAll("_", " ")),
      make("td", {}, make("span", { "aria-hidden": "true" }, signs[one.polarity][0] + " "), told(one.said), make("span", { class: "unseen" }, ", " + signs[one.polarity][1])),
      make("td", { class: one.differs ? "differs" : null }, one.measured ? told(one.measured) : "not measured", one.differs ? " (differs)" : ""),
      make("td", {}, change(one.what_if, 1)),
      make("td", {}, change(one.what_if, -1))));
    const heads = ["Attribute", "Described as", "Measured as", "Would raise the verdict", "Would lower it"];
    return make("div", { class: "wide", role: "region", tabindex: "0", "aria-label": "Attributes" },
      make("table", {}, make("caption", {}, "Attributes"),
        make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
        make("tbody", {}, ...rows)));
  }

  const stops = settings.stops.map((stop) => [1, 3, 5].map((at) => parseInt(stop.slice(at, at + 2), 16)));

  function colour(quality) {
    const place = Math.min(3.999999, Math.max(0, quality - 1)), low = Math.floor(place), share = place - low;
    return stops[low].map((value, channel) => Math.round(value + share * (stops[low + 1][channel] - value)));
  }

  function mapFigure(image, map) {
    const rows = map.length, columns = map[0].length;
    const small = make("canvas");
    small.width = columns;
    small.height = rows;
    const pixels = small.getContext("2d").createImageData(columns, rows);
    map.flat().forEach((value, place) => pixels.data.set([...colour(value), 255], 4 * place));
    small.getContext("2d").putImageData(pixels, 0, 0);
    const canvas = make("canvas", { class: "map", role: "img", "aria-label": "Map of local quality. " + where(map) });
    canvas.width = image.thumb ? image.thumb.width : 40 * columns;
    canvas.height = image.thumb ? image.thumb.height : 40 * rows;
    const slider = make("input", { type: "range", min: "0", max: "100", value: "60", id: "strength" });
    const paint = () => {
      const context = canvas.getContext("2d"), strength = image.thumb ? Number(slider.value) / 100 : 1;
      context.clearRect(0, 0, canvas.width, canvas.height);
      if (image.thumb) {
        context.filter = strength > 0 ? "grayscale(1)" : "none";
        context.drawImage(image.thumb, 0, 0);
        context.filter = "none";
      }
      context.globalAlpha = strength;
      context.imageSmoothingEnabled = true;
      context.drawImage(small, 0, 0, canvas.width, canvas.height);
      context.globalAlpha = 1;
    };
    slider.addEventListener("input", paint);
    paint();
    return make("figure", {}, canvas,
      image.thumb ? make("label", { class: "slider", for: "strength" }, "Map over the image", slider) : null,
      make("div", { class: "key", "aria-hidden": "true" }),
      make("div", { class: "key-ends", "aria-hidden": "true" }, make("span", {}, "1 bad"), make("span", {}, "3 fair"), make("span", {}, "5 excellent")),
      make("figcaption", {}, where(map)));
  }

  function where(map) {
    const down = ["at the top", "in the middle", "at the bottom"], across = ["left", "centre", "right"];
    const told = (word, better) => {
      let best = [0, 0];
      map.forEach((row, r) => row.forEach((value, c) => { if (better(value, map[best[0]][best[1]])) best = [r, c]; }));
      const place = down[Math.floor((3 * best[0]) / map.length)] + ", " + across[Math.floor((3 * best[1]) / map[0].length)];
      return word + " " + two(map[best[0]][best[1]]) + " (" + place + ")";
    };
    return "Local quality: " + told("weakest", (a, b) => a < b) + ", " + told("strongest", (a, b) => a > b) + ".";
  }

  // ---- Comparing two.

  function compare() {
    const [left, right] = [...images.values()].filter((one) => one.chosen).sort((a, b) => a.chosenAt - b.chosenAt);
    for (const [side, image] of [["left", left], ["right", right]]) {
      $("stage-" + side).src = image.url;
      $("stage-" + side).alt = image.name;
    }
    $("sides").replaceChildren(...[["Left", left], ["Right", right]].map(([side, image]) =>
      make("div", {}, make("h3", {}, side + ": " + image.name), ...judged(image.result).slice(0, 2))));
    const difference = right.result.quality - left.result.quality;
    const apart = Math.max(left.result.interval[0], right.result.interval[0]) > Math.min(left.result.interval[1], right.result.interval[1]);
    $("difference").textContent = (Math.abs(difference) < 0.005 ? "Both score the same" : (difference > 0 ? "The right one" : "The left one") + " scores " + two(Math.abs(difference)) + " higher") +
      (apart ? "; their intervals lie apart." : "; their intervals overlap.");
    slide(50);
    $("compare").showModal();
  }

  function slide(share) {
    $("slider").value = String(share);
    $("slider").setAttribute("aria-valuetext", Math.round(share) + " % of the left image");
    $("stage").style.setProperty("--at", share + "%");
  }

  $("slider").addEventListener("input", () => slide(Number($("slider").value)));
  $("stage").addEventListener("pointerdown", (event) => $("stage").setPointerCapture(event.pointerId));
  for (const kind of ["pointerdown", "pointermove"])
    $("stage").addEventListener(kind, (event) => {
      if (!event.buttons || $("stage").classList.contains("beside")) return;
      const box = $("stage").getBoundingClientRect();
      slide(Math.min(100, Math.max(0, (100 * (event.clientX - box.left)) / box.width)));
    });
  $("beside").addEventListener("change", () => {
    $("stage").classList.toggle("beside", $("beside").checked);
    $("slider-box").hidden = $("beside").checked;
  });

  // ---- Everything else that people do.

  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.querySelector(".close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  }
  $("choose").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", () => { take($("files").files); $("files").value = ""; });
  $("model").addEventListener("change", modelChanged);
  $("order").addEventListener("change", arrange);
  $("compare-open").addEventListener("click", compare);
  $("clear").addEventListener("click", () => { for (const image of [...images.values()]) remove(image); });
  let depth = 0;
  addEventListener("dragenter", () => { depth += 1; $("drop").classList.add("over"); });
  addEventListener("dragleave", () => { depth -= 1; if (depth <= 0) $("drop").classList.remove("over"); });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    $("drop").classList.remove("over");
    take(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) {
      event.preventDefault();
      take(event.clipboardData.files);
    }
  });
  $("prompt").maxLength = settings.maxPrompt;
  $("promise").textContent = "JPEG, PNG, WebP, AVIF, TIFF and more, up to " + Math.floor(settings.maxImage / 2 ** 20) + " MiB each. Images go to this service alone, and are not kept.";
  settings.stops.forEach((stop, place) => $("ramp").append(make("svg:stop", { offset: 25 * place + "%", "stop-color": stop })));
  const connected = connect(); // never fails: what goes wrong is told on the page
})();
