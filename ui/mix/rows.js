// The adapters of a mix as rows. `props.value` is the list of rows and the one place where the mix is held; every final
// change triggers "release". Names and trigger words come from files: they are put in as text, never as HTML.
const PRESETS = { "": "everything", style: "style", composition: "composition", own: "own …" };
const SECTIONS = { "unet.down_blocks": "down blocks", "unet.mid_block": "middle block", "unet.up_blocks": "up blocks" };
const list = element.querySelector(".rows"), empty = element.querySelector(".no-rows");
const chooser = element.querySelector(".chooser"), search = chooser.querySelector("input");
const results = chooser.querySelector(".results");
const facts = {}; // name -> {trigger, thumbnail, weight, problem}
const open = new Set(); // names whose details are seen

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const rows = () => JSON.parse(JSON.stringify(props.value || []));
const at = (row) => (typeof row.weight === "number" ? row.weight : 1);
const shown = (number) => String(Math.round(number * 1000) / 1000);

function change(name, changes, final = true) {
  props.value = rows().map((row) => (row.name === name ? { ...row, ...changes } : row));
  if (final) trigger("release");
}

function put(changed, final = true) {
  props.value = changed;
  draw();
  if (final) trigger("release");
}

function picture(name) {
  const url = facts[name] && facts[name].thumbnail;
  if (url) return make("img", { class: "thumbnail", src: url, alt: "", loading: "lazy" });
  let hue = 0;
  for (const letter of name) hue = (hue * 31 + letter.codePointAt(0)) % 360;
  const letters = name.replace(/[^\p{L}\p{N}]+/gu, " ").trim().split(" ").slice(-1)[0].slice(0, 2);
  return make("span", { class: "thumbnail letters", style: `--hue: ${hue}`, "aria-hidden": "true" }, letters);
}

function icon(sign, label, act, more = {}) {
  return make("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick: act, ...more }, sign);
}

// Words go to where the caret of the prompt is, by the browser's own editing, so that Ctrl+Z takes them out again.
let been = false;
document.addEventListener("focusin", (event) => { if (event.target.closest("#prompt")) been = true; });
function insert(words) {
  const box = document.querySelector("#prompt textarea");
  const place = been ? box.selectionEnd : box.value.length;
  const before = box.value.slice(0, place), after = box.value.slice(place);
  const lead = before.trim() && !/,\s*$/.test(before) ? ", " : before && !/\s$/.test(before) ? " " : "";
  const tail = after.trim() && !/^\s*,/.test(after) ? ", " : "";
  box.focus();
  box.setSelectionRange(place, place);
  if (!document.execCommand("insertText", false, lead + words + tail)) {
    box.setRangeText(lead + words + tail, place, place, "end");
    box.dispatchEvent(new Event("input", { bubbles: true }));
  }
}

function chips(name) {
  const words = ((facts[name] && facts[name].trigger) || "").split(",").map((word) => word.trim()).filter(Boolean);
  return make("span", { class: "chips" }, ...words.slice(0, 6).map((word) =>
    make("button", { type: "button", class: "chip", title: "put into the prompt", onclick: () => insert(word) }, word)));
}

function weights(row) {
  const label = `Weight of ${row.name}`;
  const slider = make("input", { type: "range", min: -1, max: 2, step: 0.05, "aria-label": `range slider for ${label}` });
  const box = make("input", { type: "number", step: 0.05, "aria-label": `number input for ${label}` });
  const fill = (value, from) => {
    if (from !== slider) slider.value = value;
    if (from !== box) box.value = shown(value);
    slider.style.setProperty("--filled", `${((Math.min(2, Math.max(-1, value)) + 1) / 3) * 100}%`);
  };
  const moved = (from, final) => {
    const value = Number(from.value);
    if (from.value === "" || !Number.isFinite(value)) return;
    fill(value, from);
    list.querySelector(`[data-name="${CSS.escape(row.name)}"] .on`).checked = true; // moving it turns it on
    change(row.name, { weight: value, on: true }, final);
  };
  for (const part of [slider, box]) {
    part.addEventListener("input", () => moved(part, false));
    part.addEventListener("change", () => moved(part, true));
  }
  fill(at(row));
  return make("div", { class: "weight" }, slider, box);
}

function field(row, label, key, attributes) {
  const box = make("input", { "aria-label": `${label} of ${row.name}`, ...attributes });
  box.value = row[key] ?? "";
  box.addEventListener("change", () => {
    const text = box.value.trim(), value = Number(text);
    change(row.name, { [key]: text === "" ? null : attributes.type === "number" ? value : text });
  });
  return make("label", {}, make("span", {}, label), box);
}

function own(row) {
  const factors = typeof row.blocks === "object" && row.blocks && !Array.isArray(row.blocks) ? row.blocks : {};
  const parts = Object.entries(SECTIONS).map(([prefix, label]) => {
    const box = make("input", { type: "number", step: 0.1, "aria-label": `${label} of ${row.name}`, placeholder: "1" });
    box.value = factors[prefix] ?? "";
    box.addEventListener("change", () => {
      const now = { ...(rows().find((other) => other.name === row.name).blocks || {}) };
      if (box.value === "") delete now[prefix]; else now[prefix] = Number(box.value);
      change(row.name, { blocks: now });
    });
    return make("label", {}, make("span", {}, label), box);
  });
  const words = make("input", { "aria-label": `block list of ${row.name}`, placeholder: "or a list as in A1111: 1,0,0.5,…" });
  words.value = typeof row.blocks === "string" && !(row.blocks in PRESETS) ? row.blocks : "";
  words.addEventListener("change", () => change(row.name, { blocks: words.value.trim() || {} }));
  return [...parts, make("label", { class: "wide" }, make("span", {}, "block weights"), words)];
}

function details(row, index, count) {
  const kind = typeof row.blocks === "string" && row.blocks in PRESETS ? row.blocks : row.blocks ? "own" : "";
  const preset = make("select", { "aria-label": `Blocks of ${row.name}` },
    ...Object.entries(PRESETS).map(([key, label]) => make("option", { value: key, selected: key === kind }, label)));
  preset.addEventListener("change", () => { change(row.name, { blocks: preset.value === "own" ? {} : preset.value }); draw(); });
  const number = (label, key, more) => field(row, label, key, { type: "number", step: 0.05, ...more });
  const moment = (label, key, usual) => field(row, label, key, { inputmode: "decimal", placeholder: usual, title: "a fraction of the steps (0.5), or a step (10)" });
  return make("div", { class: "details" },
    number("UNet", "unet", { placeholder: "as above" }), number("text", "text", { placeholder: "as above" }),
    moment("from", "start", "0"), moment("until", "stop", "1"),
    make("label", {}, make("span", {}, "acts on"), preset),
    ...(kind === "own" ? own(row) : []),
    make("span", { class: "order" },
      icon("↑", `Move ${row.name} up`, () => move(index, -1), { disabled: index === 0 }),
      icon("↓", `Move ${row.name} down`, () => move(index, 1), { disabled: index === count - 1 })));
}

function move(index, by) {
  const moved = rows();
  moved.splice(index + by, 0, ...moved.splice(index, 1));
  put(moved, false);
}

function drawn(row, index, count) {
  const box = make("input", { type: "checkbox", class: "on", "aria-label": row.name, checked: row.on });
  box.addEventListener("change", () => change(row.name, { on: box.checked }));
  const more = icon("⋯", `More about ${row.name}`, () => {
    if (!open.delete(row.name)) open.add(row.name);
    draw();
  }, { "aria-expanded": String(open.has(row.name)) });
  const away = icon("✕", `Remove ${row.name}`, () => put(rows().filter((other) => other.name !== row.name)));
  const told = facts[row.name] || {};
  return make("li", { class: "adapter", "data-name": row.name },
    make("label", { class: "who" }, box, picture(row.name), make("span", { class: "name" }, row.name)),
    told.problem ? make("span", { class: "problem" }, told.problem) : chips(row.name),
    weights(row), make("span", { class: "tools" }, more, away),
    open.has(row.name) ? details(row, index, count) : null);
}

function draw() {
  const now = rows(), had = document.activeElement && list.contains(document.activeElement)
    ? document.activeElement.getAttribute("aria-label") : null;
  list.replaceChildren(...now.map((row, index) => drawn(row, index, now.length)));
  empty.hidden = now.length > 0;
  element.querySelector(".clear").hidden = now.length === 0;
  if (had) list.querySelector(`[aria-label="${CSS.escape(had)}"]`)?.focus();
  learn(now.map((row) => row.name).filter((name) => !(name in facts)));
}

async function learn(names) {
  if (!names.length) return;
  for (const name of names) facts[name] = {};
  Object.assign(facts, await server.facts(names));
  draw();
}

function add(found) {
  facts[found.name] = found;
  chooser.hidden = true;
  put([...rows(), { name: found.name, on: true, weight: found.weight ?? 1 }]);
  element.querySelector(".add").focus();
}

let asked = 0;
async function look() {
  const mine = ++asked, found = await server.search(search.value);
  if (mine !== asked) return; // a later question was answered first
  const taken = new Set(rows().map((row) => row.name));
  for (const one of found.items) facts[one.name] = one;
  results.replaceChildren(...found.items.map((one) => make("button",
    { type: "button", class: "result", disabled: taken.has(one.name) || Boolean(one.problem), onclick: () => add(one), "aria-label": `Add ${one.name}` },
    picture(one.name), make("span", { class: "name" }, one.name), make("span", { class: "hint" }, one.problem || one.trigger || one.family))));
  chooser.querySelector(".found").textContent = found.total > found.items.length
    ? `${found.items.length} of ${found.total}: type to find others` : found.total ? "" : "none found";
}

element.querySelector(".add").addEventListener("click", () => {
  chooser.hidden = !chooser.hidden;
  if (!chooser.hidden) { search.value = ""; look(); search.focus(); }
});
element.querySelector(".clear").addEventListener("click", () => put([]));
search.addEventListener("input", look);
chooser.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { chooser.hidden = true; element.querySelector(".add").focus(); }
  if (event.key === "Enter" && event.target === search) results.querySelector(".result:not([disabled])")?.click();
});
document.addEventListener("click", (event) => {
  if (!chooser.hidden && !chooser.contains(event.target) && !event.target.closest(".add")) chooser.hidden = true;
});
watch("value", draw);
draw();
