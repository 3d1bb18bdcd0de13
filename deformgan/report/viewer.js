// Linked slices of a registration.  NiiVue draws each image on a canvas of its own, which is not shown; here they are
// laid over each other.  An index is (right, anterior, superior) in the viewer's grid; see viewer.py and packed.py.
(() => {
"use strict";
const byId = (id) => document.getElementById(id);
const about = JSON.parse(byId("viewer-about").textContent);
const { blocks, grid } = about;
const { size, spacing } = grid;
const extent = size.map((n, k) => n * spacing[k]);
const CPU = { willReadFrequently: true }; // 2-D canvases in memory: half the time to open where the browser has no GPU
const section = byId("viewer"), screen = byId("screen"), paper = screen.getContext("2d", CPU);
const imageKeys = Object.keys(blocks).filter((key) => key.startsWith("image-"));
const labelKeys = Object.keys(blocks).filter((key) => key.startsWith("labels-"));

// type: NiiVue's number.  across, up, through: axes of the index; all three views grow to the left along `across`.
const PLANES = {
  axial: { type: 0, across: 0, up: 1, through: 2 },
  coronal: { type: 1, across: 0, up: 2, through: 1 },
  sagittal: { type: 2, across: 1, up: 2, through: 0 },
};
const MODES = {
  side: null,
  swipe: { name: "Divide at", text: (v) => `${v} %` },
  blink: { name: "Every", text: (v) => `${blinkSeconds(v).toFixed(1)} s` },
  checker: { name: "Tiles", text: (v) => `${tileCount(v)} across` },
  overlay: { name: "Share", text: (v) => `${v} %` },
};
const FIXED_TINT = "#62b8ff", MOVING_TINT = "#ffa94d", LETTER = "#c3ccd6", CROSS = "#6ee7a0";
const MARGIN = 24, GAP = 10, NAME = 22; // CSS pixels around a view for its letters, between views, above a row

const state = {
  at: about.centre.slice(), plane: "axial", planes: "all", mode: "side", one: imageKeys[0], other: imageKeys[1],
  zoom: 1, anchor: about.centre.slice(), second: false, still: matchMedia("(prefers-reduced-motion: reduce)").matches,
  values: { swipe: 50, blink: 40, checker: 35, overlay: 50 },
};
const blinkSeconds = (v) => 0.2 + (1.8 * v) / 100;
const tileCount = (v) => Math.round(2 + (22 * v) / 100);
const on = (id) => byId(id) !== null && byId(id).checked;

// ---- data

async function unpacked(name) {
  const text = byId(`viewer-${name}`).textContent;
  let bytes;
  if (Uint8Array.fromBase64) {
    bytes = Uint8Array.fromBase64(text);
  } else {
    const letters = atob(text);
    bytes = new Uint8Array(letters.length);
    for (let k = 0; k < letters.length; k++) bytes[k] = letters.charCodeAt(k);
  }
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const arrays = {}, waiting = {};
function array(key) { // a promise of the block's numbers, which are unpacked once
  waiting[key] ??= unpacked(key).then((bytes) => {
    const wide = key === "field" ? Int16Array : blocks[key].wide ? Uint16Array : null;
    arrays[key] = wide ? new wide(bytes.buffer) : bytes;
    return arrays[key];
  });
  return waiting[key];
}

function nifti(data, [low, high]) { // one byte a voxel; mm from the outer corner
  const buffer = new ArrayBuffer(352 + data.length), head = new DataView(buffer), le = true;
  head.setInt32(0, 348, le);
  [3, ...size, 1, 1, 1, 1].forEach((v, k) => head.setInt16(40 + 2 * k, v, le));
  head.setInt16(70, 2, le);
  head.setInt16(72, 8, le);
  [1, ...spacing].forEach((v, k) => head.setFloat32(76 + 4 * k, v, le));
  head.setFloat32(108, 352, le);
  head.setFloat32(112, 1, le);
  head.setUint8(123, 2);
  head.setFloat32(124, high, le);
  head.setFloat32(128, low, le);
  head.setInt16(254, 1, le);
  for (let k = 0; k < 3; k++) {
    head.setFloat32(280 + 20 * k, spacing[k], le);
    head.setFloat32(292 + 16 * k, spacing[k] / 2, le);
  }
  [0x6e, 0x2b, 0x31, 0].forEach((v, k) => head.setUint8(344 + k, v));
  new Uint8Array(buffer, 352).set(data);
  return buffer;
}

// ---- layers: one NiiVue an image

let Niivue = null;
const layers = {}, opening = {};
const hidden = document.createElement("div");
hidden.hidden = true;
section.append(hidden);

function layer(key) { // the layer where it is ready; else it is being opened, and drawn when it is
  if (!layers[key] && !opening[key]) {
    opening[key] = opened(key).then((made) => { layers[key] = made; later(); }, failed);
  }
  return layers[key];
}

async function opened(key) {
  const data = await array(key);
  const canvas = document.createElement("canvas");
  hidden.append(canvas);
  const nv = new Niivue({
    isResizeCanvas: false, interactive: false, dragAndDropEnabled: false, isOrientationTextVisible: false,
    crosshairWidth: 0, isRadiologicalConvention: true, sagittalNoseLeft: true, loadingText: "", logLevel: "silent",
    backColor: [0, 0, 0, 1], multiplanarShowRender: 0, isAntiAlias: false,
  });
  canvas.width = canvas.height = 8;
  canvas.addEventListener("webglcontextlost", () => still("the browser took its graphics memory away; load the page again"));
  await nv.attachToCanvas(canvas, false);
  let range = blocks[key].window;
  if (key === "jacobian") {
    const [R, G, B] = blocks.jacobian.colours, A = R.map(() => 255);
    nv.addColormap("jacobian", { R, G, B, A, I: R.map((v, k) => k) });
    range = [0, 255];
  }
  await nv.loadFromArrayBuffer(nifti(data, range), `${key}.nii`);
  if (key === "jacobian") nv.setColormap(nv.volumes[0].id, "jacobian");
  return { nv, canvas, copy: document.createElement("canvas"), view: "", layout: "" };
}

function refreshed(made) { // the layer's slices of the present view
  const { nv, canvas, copy } = made, [width, height] = [layout.width, layout.height];
  const view = JSON.stringify([state.at, state.zoom, state.anchor, layout.tiles, width, height]);
  if (made.view === view) return copy;
  made.view = view;
  for (const c of [canvas, copy]) if (c.width !== width || c.height !== height) { c.width = width; c.height = height; }
  nv.scene.crosshairPos = state.at.map((v, k) => (v + 0.5) / size[k]);
  nv.scene.pan2Dxyzmm = [...state.anchor.map((v, k) => (v + 0.5) * spacing[k] * (1 - state.zoom)), state.zoom];
  const tiles = layout.tiles.map(({ name, x, y, w, h }) => ({
    sliceType: PLANES[name].type, position: [x / width, y / height, w / width, h / height],
  }));
  const asked = JSON.stringify(tiles);
  if (made.layout !== asked) nv.setCustomLayout(tiles);
  else nv.drawScene();
  made.layout = asked;
  copy.getContext("2d", CPU).drawImage(canvas, 0, 0); // in the same task, while the drawing buffer is there
  return copy;
}

// ---- where things are on the screen, in device pixels

let layout = null;
function arranged() {
  const names = state.planes === "all" ? Object.keys(PLANES) : [state.planes];
  const dpr = Math.min(2, window.devicePixelRatio || 1), wide = section.clientWidth || 900;
  const rows = state.mode === "side" ? 2 : 1;
  const spare = names.length * 2 * MARGIN + (names.length - 1) * GAP;
  const widths = names.map((n) => extent[PLANES[n].across]), heights = names.map((n) => extent[PLANES[n].up]);
  const tallest = Math.max(...heights), room = Math.max(200, window.innerHeight * (rows === 2 ? 0.33 : 0.66));
  const mm = Math.min((wide - spare) / widths.reduce((a, b) => a + b), room / tallest) * dpr;
  const m = Math.round(MARGIN * dpr), top = Math.round((MARGIN + NAME) * dpr);
  const used = widths.reduce((a, b) => a + Math.round(b * mm), 0) + Math.round(spare * dpr);
  let left = Math.max(0, Math.round((wide * dpr - used) / 2));
  const tiles = names.map((name, k) => {
    const w = Math.round(widths[k] * mm), h = Math.round(heights[k] * mm);
    const tile = { name, x: left + m, y: top + Math.round((tallest * mm - h) / 2), w, h };
    left += w + 2 * m + Math.round(GAP * dpr);
    return tile;
  });
  return { tiles, dpr, rows, width: Math.round(wide * dpr), height: top + Math.round(tallest * mm) + m };
}

const zoomed = (share, axis) => {
  const anchor = (state.anchor[axis] + 0.5) / size[axis];
  return anchor + (share - anchor) * state.zoom;
};
const unzoomed = (share, axis) => {
  const anchor = (state.anchor[axis] + 0.5) / size[axis];
  return anchor + (share - anchor) / state.zoom;
};
// share of the field of view along an axis (0 to 1) -> pixel; a voxel's centre is at (index + 0.5) / size
const toX = (tile, share) => tile.x + tile.w * (1 - zoomed(share, PLANES[tile.name].across));
const toY = (tile, share) => tile.y + tile.h * (1 - zoomed(share, PLANES[tile.name].up));
const centre = (axis) => (state.at[axis] + 0.5) / size[axis];
const kept = (v, axis) => Math.max(0, Math.min(size[axis] - 1, Math.round(v)));

function go(index) {
  state.at = index.map(kept);
  later();
}

function pick(tile, x, y) { // move the crosshair to a pixel of a view
  const { across, up } = PLANES[tile.name], index = state.at.slice();
  index[across] = unzoomed(1 - (x - tile.x) / tile.w, across) * size[across] - 0.5;
  index[up] = unzoomed(1 - (y - tile.y) / tile.h, up) * size[up] - 0.5;
  state.plane = tile.name;
  go(index);
}

// ---- drawing

let due = false;
function later() {
  if (due || !Niivue) return;
  due = true;
  requestAnimationFrame(() => { due = false; draw(); });
}

function draw() {
  layout = arranged();
  const { width, height, rows, dpr } = layout;
  const one = layer(state.one), other = layer(state.other);
  const jacobian = on("jacobian") ? layer("jacobian") : null;
  if (!one || !other) return;
  const [a, b] = [refreshed(one), refreshed(other)];
  const map = jacobian ? refreshed(jacobian) : null;
  if (screen.width !== width || screen.height !== rows * height) {
    screen.width = width;
    screen.height = rows * height;
    screen.style.height = `${(rows * height) / dpr}px`;
  }
  paper.setTransform(1, 0, 0, 1, 0, 0);
  paper.fillStyle = "#000";
  paper.fillRect(0, 0, screen.width, screen.height);
  const names = [blocks[state.one].name, blocks[state.other].name];
  for (let row = 0; row < rows; row++) {
    paper.setTransform(1, 0, 0, 1, 0, row * height);
    laid(a, b, row);
    if (map) over(map, 1, "screen");
    decorate(rows === 2 ? names[row] : "");
  }
  byId("shown").textContent = caption(names);
  read();
  if (!document.documentElement.dataset.viewer) finished();
}

function laid(a, b, row) { // one row: the two images, in the present mode
  const value = state.values[state.mode];
  if (state.mode === "side") return over(row === 0 ? a : b);
  if (state.mode === "blink") return over(state.second ? b : a);
  if (state.mode === "overlay") {
    over(tinted(a, FIXED_TINT), Math.min(1, (2 * (100 - value)) / 100));
    return over(tinted(b, MOVING_TINT), Math.min(1, (2 * value) / 100), "lighter");
  }
  over(a);
  paper.save();
  paper.beginPath();
  for (const tile of layout.tiles) {
    if (state.mode === "swipe") {
      const x = Math.round((tile.w * value) / 100);
      paper.rect(tile.x + x, tile.y, tile.w - x, tile.h);
    } else {
      const edge = Math.max(tile.w, tile.h) / tileCount(value);
      for (let r = 0; r * edge < tile.h; r++) {
        for (let c = r % 2 ? 0 : 1; c * edge < tile.w; c += 2) {
          paper.rect(tile.x + c * edge, tile.y + r * edge,
            Math.min(edge, tile.w - c * edge), Math.min(edge, tile.h - r * edge));
        }
      }
    }
  }
  paper.clip();
  over(state.mode === "checker" ? tinted(b, "#ffcc85") : b);
  paper.restore();
  if (state.mode !== "swipe") return undefined;
  paper.fillStyle = MOVING_TINT;
  for (const tile of layout.tiles) paper.fillRect(tile.x + (tile.w * value) / 100 - 1, tile.y, 2, tile.h);
  return undefined;
}

function over(picture, alpha = 1, how = "source-over") {
  paper.save();
  paper.globalAlpha = alpha;
  paper.globalCompositeOperation = how;
  paper.drawImage(picture, 0, 0);
  paper.restore();
}

const scratch = document.createElement("canvas");
function tinted(picture, colour) {
  scratch.width = picture.width;
  scratch.height = picture.height;
  const ink = scratch.getContext("2d", CPU);
  ink.drawImage(picture, 0, 0);
  ink.globalCompositeOperation = "multiply";
  ink.fillStyle = colour;
  ink.fillRect(0, 0, scratch.width, scratch.height);
  return scratch;
}

function caption([one, other]) {
  return {
    side: `Above: ${one}. Below: ${other}.`,
    swipe: `Left of the line: ${one}. Right of it: ${other}.`,
    blink: `Now: ${state.second ? other : one}${state.still ? " (stopped; space turns)" : ""}.`,
    checker: `Grey tiles: ${one}. Tinted tiles: ${other}.`,
    overlay: `Blue: ${one}. Orange: ${other}. Where both are bright: nearly white.`,
  }[state.mode];
}

function decorate(name) { // what lies over the slices of a row
  const { dpr } = layout;
  paper.font = `${12 * dpr}px system-ui, sans-serif`;
  paper.textBaseline = "middle";
  if (name) {
    paper.fillStyle = LETTER;
    paper.textAlign = "left";
    paper.fillText(name, 12 * dpr, (NAME / 2 + 4) * dpr);
  }
  for (const tile of layout.tiles) {
    const { across, up } = PLANES[tile.name], half = (MARGIN / 2) * dpr;
    paper.save();
    paper.beginPath();
    paper.rect(tile.x, tile.y, tile.w, tile.h);
    paper.clip();
    if (on("grid")) warpedGrid(tile);
    if (on("labels")) labelKeys.forEach((key, k) => outlines(tile, key, k));
    if (on("cross")) crosshair(tile);
    paper.restore();
    paper.fillStyle = LETTER;
    paper.textAlign = "center";
    paper.fillText(grid.towards[across], tile.x - half, tile.y + tile.h / 2);
    paper.fillText(grid.from[across], tile.x + tile.w + half, tile.y + tile.h / 2);
    paper.fillText(grid.towards[up], tile.x + tile.w / 2, tile.y - half);
    paper.fillText(grid.from[up], tile.x + tile.w / 2, tile.y + tile.h + half);
  }
}

function crosshair(tile) {
  const { across, up } = PLANES[tile.name], gap = 7 * layout.dpr;
  const x = toX(tile, centre(across)), y = toY(tile, centre(up));
  paper.strokeStyle = CROSS;
  paper.globalAlpha = 0.85;
  paper.lineWidth = layout.dpr;
  paper.beginPath();
  paper.moveTo(tile.x, y); paper.lineTo(x - gap, y);
  paper.moveTo(x + gap, y); paper.lineTo(tile.x + tile.w, y);
  paper.moveTo(x, tile.y); paper.lineTo(x, y - gap);
  paper.moveTo(x, y + gap); paper.lineTo(x, tile.y + tile.h);
  paper.stroke();
  paper.globalAlpha = 1;
}

function displaced(shares) { // mm along right, anterior, superior at shares of the field of view, trilinear
  const data = arrays.field, { size: n, own, first, every } = blocks.field;
  const plane = n[0] * n[1] * n[2], sum = [0, 0, 0];
  const low = [], part = [];
  shares.forEach((share, k) => {
    const place = Math.max(0, Math.min(n[k] - 1, (share * own[k] - 0.5 - first[k]) / every[k]));
    low[k] = Math.min(Math.floor(place), Math.max(0, n[k] - 2));
    part[k] = place - low[k];
  });
  for (let corner = 0; corner < 8; corner++) {
    let weight = 1;
    const index = low.map((v, k) => {
      const upper = (corner >> k) & 1;
      weight *= upper ? part[k] : 1 - part[k];
      return Math.min(v + upper, n[k] - 1);
    });
    if (!weight) continue;
    const offset = index[0] + n[0] * (index[1] + n[1] * index[2]);
    for (let c = 0; c < 3; c++) sum[c] += weight * data[c * plane + offset];
  }
  return sum.map((v) => v * blocks.field.step);
}

function rampColour(share) {
  const stops = blocks.field.stops, place = Math.max(0, Math.min(1, share)) * (stops.length - 1);
  const k = Math.min(Math.floor(place), stops.length - 2), t = place - k;
  const mixed = [1, 3, 5].map((c) => {
    const [p, q] = [parseInt(stops[k].slice(c, c + 2), 16), parseInt(stops[k + 1].slice(c, c + 2), 16)];
    return Math.round(p + (q - p) * t);
  });
  return `rgb(${mixed})`;
}

const LINES = 26, POINTS = 72, SHADES = 16;
function warpedGrid(tile) { // straight lines of the fixed grid at x + u(x), coloured by the length of u
  if (!arrays.field) { array("field").then(later); return; }
  const { across, up, through } = PLANES[tile.name], paths = Array.from({ length: SHADES }, () => new Path2D());
  const step = Math.max(extent[across], extent[up]) / LINES;
  const line = (along, constant, value) => {
    let before = null;
    for (let k = 0; k <= POINTS; k++) {
      const shares = [0, 0, 0];
      shares[through] = centre(through);
      shares[along] = k / POINTS;
      shares[constant] = value;
      const u = displaced(shares);
      const here = [toX(tile, shares[across] + u[across] / extent[across]), toY(tile, shares[up] + u[up] / extent[up])];
      if (before) {
        const path = paths[Math.min(SHADES - 1, Math.floor((Math.hypot(...u) / blocks.field.high) * SHADES))];
        path.moveTo(...before);
        path.lineTo(...here);
      }
      before = here;
    }
  };
  for (const [along, constant] of [[across, up], [up, across]]) {
    const count = Math.max(2, Math.round(extent[constant] / step));
    for (let k = 0; k < count; k++) line(along, constant, (k + 0.5) / count);
  }
  paper.lineWidth = 1.2 * layout.dpr;
  paths.forEach((path, k) => {
    paper.strokeStyle = rampColour((k + 0.5) / SHADES);
    paper.stroke(path);
  });
}

function outlines(tile, key, rank) { // between voxels of different labels, along their edges
  const data = arrays[key];
  if (!data) { array(key).then(later); return; }
  const { across, up, through } = PLANES[tile.name], stride = [1, size[0], size[0] * size[1]];
  const base = state.at[through] * stride[through], wide = size[across] + 1, met = new Map();
  const edge = (label, from, to) => { // corners of voxels, numbered
    if (!label) return;
    if (!met.has(label)) met.set(label, new Map());
    const corners = met.get(label);
    for (const [p, q] of [[from, to], [to, from]]) corners.has(p) ? corners.get(p).push(q) : corners.set(p, [q]);
  };
  for (let v = 0; v < size[up]; v++) {
    for (let h = 0; h < size[across]; h++) {
      const place = base + h * stride[across] + v * stride[up], here = data[place], corner = h + 1 + wide * (v + 1);
      const right = h + 1 < size[across] ? data[place + stride[across]] : 0;
      const above = v + 1 < size[up] ? data[place + stride[up]] : 0;
      if (here !== right) for (const label of [here, right]) edge(label, corner - wide, corner);
      if (here !== above) for (const label of [here, above]) edge(label, corner - 1, corner);
    }
  }
  paper.lineWidth = 1.6 * layout.dpr;
  paper.setLineDash(rank ? [5 * layout.dpr, 4 * layout.dpr] : []);
  for (const [label, corners] of met) {
    paper.strokeStyle = `hsl(${(45 + 137.5 * (blocks[key].values[label] - 1)) % 360} 90% 62%)`;
    paper.stroke(lines(corners, (c) => [
      toX(tile, (c % wide) / size[across]), toY(tile, Math.floor(c / wide) / size[up]),
    ]));
  }
  paper.setLineDash([]);
}

function lines(corners, place) { // a path along all edges, each once, as long as it goes on: else dashes do not show
  const path = new Path2D();
  for (const [start, ends] of corners) {
    while (ends.length) {
      let at = start;
      path.moveTo(...place(at));
      for (let to = ends.pop(); to !== undefined; to = corners.get(at).pop()) {
        const back = corners.get(to);
        back.splice(back.indexOf(at), 1);
        path.lineTo(...place(to));
        at = to;
      }
    }
  }
  return path;
}

// ---- values under the crosshair

const times = (matrix, index) => [0, 1, 2].map((r) =>
  matrix[r][0] * index[0] + matrix[r][1] * index[1] + matrix[r][2] * index[2] + matrix[r][3]);
const plain = (v, digits) => v.toFixed(digits).replace(/^-(0(?:\.0*)?)$/, "$1").replace("-", "\u2212");
const places = Math.max(1, Math.min(12, Math.ceil(0.4 - Math.log10(Math.min(...spacing))))); // of mm: less than a voxel
const inMm = (v) => plain(v, places);
const offset = () => state.at[0] + size[0] * (state.at[1] + size[1] * state.at[2]);

function imageValue(key) {
  const { low, step, cut } = blocks[key], steps = arrays[key][offset()], value = low + steps * step;
  const sign = cut[0] && steps === 0 ? "\u2264 " : cut[1] && steps === 255 ? "\u2265 " : "";
  return [sign + plain(value, Math.max(0, Math.min(6, Math.ceil(-Math.log10(step) + 0.3)))), value];
}

function read() {
  const rows = [], mm = times(grid.matrix, state.at), own = times(grid.own, state.at);
  rows.push(["Position", `${mm.map(inMm).join(", ")} mm (LPS x, y, z)`, mm]);
  rows.push(["Voxel of the fixed image", `${own.map((v) => plain(v, 1)).join(", ")} (x, y, z, from 0)`, own]);
  for (const key of imageKeys) rows.push([blocks[key].name, ...(arrays[key] ? imageValue(key) : ["\u2026", ""])]);
  for (const key of labelKeys) {
    if (!arrays[key]) { array(key).then(later); continue; }
    const label = blocks[key].values[arrays[key][offset()]];
    rows.push([blocks[key].name, String(label), label]);
  }
  if (arrays.jacobian) {
    const steps = arrays.jacobian[offset()], value = Math.exp(((steps - 128) / 127) * blocks.jacobian.reach);
    rows.push(["Jacobian", steps ? plain(value, 2) : "folded (0 or below)", steps ? value : 0]);
  }
  if (arrays.field) {
    const along = displaced([0, 1, 2].map(centre)), towards = blocks.field.towards;
    const u = [0, 1, 2].map((c) => along.reduce((sum, v, k) => sum + v * towards[k][c], 0));
    rows.push(["Displacement", `${u.map(inMm).join(", ")} mm, length ${inMm(Math.hypot(...u))} mm`, u]);
  }
  byId("read").replaceChildren(...rows.map(([name, text, value]) => {
    const row = document.createElement("tr"), head = document.createElement("th"), cell = document.createElement("td");
    head.scope = "row";
    head.textContent = name;
    cell.textContent = text;
    cell.dataset.value = String(value);
    row.append(head, cell);
    return row;
  }));
}

// ---- what the reader does

function setMode(mode) {
  state.mode = mode;
  state.second = false;
  for (const button of byId("modes").children) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  const of = MODES[mode], slider = byId("slider");
  slider.parentElement.style.visibility = of ? "visible" : "hidden";
  if (of) {
    byId("slider-name").textContent = of.name;
    slider.value = state.values[mode];
    byId("slider-text").textContent = of.text(state.values[mode]);
  }
  blinking();
  later();
}

function setSlider(value) {
  if (!MODES[state.mode]) return;
  state.values[state.mode] = Math.max(0, Math.min(100, value));
  byId("slider").value = state.values[state.mode];
  byId("slider-text").textContent = MODES[state.mode].text(state.values[state.mode]);
  blinking();
  later();
}

let timer = 0;
function blinking() {
  clearInterval(timer);
  if (state.mode !== "blink" || state.still) return;
  timer = setInterval(() => { state.second = !state.second; later(); }, 1000 * blinkSeconds(state.values.blink));
}

function setZoom(zoom) {
  const next = Math.max(1, Math.min(8, zoom));
  if (next > 1 && state.zoom === 1) state.anchor = state.at.slice();
  state.zoom = next;
  later();
}

function reset() {
  state.at = about.centre.slice();
  setZoom(1);
}

function select(id, value) {
  byId(id).value = value;
  state[id] = value;
  if (id === "planes" && value !== "all") state.plane = value;
  later();
}

function toggle(id) {
  const box = byId(id);
  if (!box) return;
  box.checked = !box.checked;
  shownBars();
}

function shownBars() {
  for (const bar of section.querySelectorAll(".bar")) bar.hidden = !on(bar.dataset.for);
  later();
}

function moved(axis, by) {
  const index = state.at.slice();
  index[axis] += by;
  go(index);
}

const view = () => PLANES[state.plane];
const next = (list, item) => list[(list.indexOf(item) + 1) % list.length];
const KEYS = {
  ArrowLeft: () => moved(view().across, 1), ArrowRight: () => moved(view().across, -1),
  ArrowUp: () => moved(view().up, 1), ArrowDown: () => moved(view().up, -1),
  PageUp: () => moved(view().through, 1), PageDown: () => moved(view().through, -1),
  s: () => setMode("side"), w: () => setMode("swipe"), b: () => setMode("blink"), c: () => setMode("checker"),
  o: () => setMode("overlay"), "[": () => setSlider(state.values[state.mode] - 5),
  "]": () => setSlider(state.values[state.mode] + 5),
  m: () => select("other", next(imageKeys.filter((key) => key === state.other || key !== state.one), state.other)),
  1: () => select("planes", "axial"), 2: () => select("planes", "coronal"), 3: () => select("planes", "sagittal"),
  4: () => select("planes", "all"), g: () => toggle("grid"), j: () => toggle("jacobian"), l: () => toggle("labels"),
  x: () => toggle("cross"), "+": () => setZoom(state.zoom * 1.25), "=": () => setZoom(state.zoom * 1.25),
  "-": () => setZoom(state.zoom / 1.25), 0: reset,
  " ": () => { if (state.mode === "blink") { state.still = true; state.second = !state.second; blinking(); later(); } },
};

function wired() {
  section.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !Object.hasOwn(KEYS, event.key)) return;
    const spoken = event.target.matches("input[type=range], select") && event.key.length > 1;
    if (spoken || (event.key === " " && !event.target.matches("canvas, input[type=range]"))) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  let held = null;
  const place = (event) => {
    const box = screen.getBoundingClientRect(), { dpr, height } = layout;
    const y = (event.clientY - box.top) * dpr;
    const row = held ? held.row : Math.floor(y / height);
    return { x: (event.clientX - box.left) * dpr, y: y - row * height, row };
  };
  const within = ({ x, y }) => layout.tiles.find((t) => x >= t.x && x < t.x + t.w && y >= t.y && y < t.y + t.h);
  screen.addEventListener("pointerdown", (event) => {
    const p = place(event), tile = within(p);
    if (!tile) return;
    held = { tile, row: p.row };
    screen.setPointerCapture(event.pointerId);
    pick(tile, p.x, p.y);
  });
  screen.addEventListener("pointermove", (event) => {
    if (held) { const p = place(event); pick(held.tile, p.x, p.y); }
  });
  for (const end of ["pointerup", "pointercancel"]) screen.addEventListener(end, () => { held = null; });
  screen.addEventListener("wheel", (event) => {
    const tile = within(place(event));
    if (!tile) return;
    event.preventDefault();
    state.plane = tile.name;
    moved(PLANES[tile.name].through, event.deltaY < 0 ? 1 : -1);
  }, { passive: false });
  byId("modes").addEventListener("click", (event) => { if (event.target.dataset.mode) setMode(event.target.dataset.mode); });
  byId("slider").addEventListener("input", (event) => setSlider(Number(event.target.value)));
  for (const id of ["one", "other", "planes"]) byId(id).addEventListener("change", (event) => select(id, event.target.value));
  for (const id of ["grid", "jacobian", "labels", "cross"]) byId(id)?.addEventListener("change", shownBars);
  byId("closer").addEventListener("click", KEYS["+"]);
  byId("farther").addEventListener("click", KEYS["-"]);
  byId("reset").addEventListener("click", reset);
  new ResizeObserver(later).observe(section);
}

// ---- opening

function finished() {
  const root = document.documentElement;
  root.dataset.viewer = "ready";
  root.dataset.openingMs = String(Math.round(performance.now()));
  window.deformgan = { go, layout: () => layout, at: () => state.at.slice() };
  byId("pictures").open = false;
  Promise.all(Object.keys(blocks).map(array)).then(later, failed); // values of all under the crosshair
}

function failed(error) {
  console.warn("the viewer could not start:", error);
  still(error instanceof Error ? error.message : String(error));
}

function still(why) {
  document.documentElement.dataset.viewer = "still";
  section.hidden = true;
  byId("pictures").open = true;
  byId("no-viewer").hidden = false;
  byId("no-viewer").textContent = `The interactive viewer cannot run here (${why}); the still pictures below show the same.`;
}

async function start() {
  if (!document.createElement("canvas").getContext("webgl2")) return still("the browser has no WebGL 2");
  if (!window.DecompressionStream) return still("the browser is too old: it has no DecompressionStream");
  section.hidden = false;
  const first = [state.one, state.other].map(array);
  const module = URL.createObjectURL(new Blob([await unpacked("niivue")], { type: "text/javascript" }));
  Niivue = (await import(module)).Niivue;
  URL.revokeObjectURL(module);
  await Promise.all(first);
  wired();
  setMode("side");
  return undefined;
}
document.addEventListener("DOMContentLoaded", () => start().catch(failed)); // the pictures stand below this script
})();
