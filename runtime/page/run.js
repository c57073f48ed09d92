"use strict";
const at = id => document.getElementById(id);
const data = JSON.parse(at("data").textContent);
const PER_PAGE = 60, BINS = 24;
const rows = data.rows.map(([name, width, height, score, doubt, flags, areas, objects]) =>
  ({ name, width, height, score, doubt, flags, areas, objects, area: areas.reduce((a, b) => a + b, 0) }));
const classes = data.classes.map(([name, colour]) => ({ name, colour }));
const ranked = rows.some(row => row.doubt !== null);
const whole = value => value.toLocaleString("en");
const short = value => value.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 3 });
let chosen = [], first = 0;

function make(tag, parts = {}, ...children) {
  const element = Object.assign(document.createElement(tag), parts);
  element.append(...children);
  return element;
}

const has = (row, flag) => row.flags >> data.flags.indexOf(flag) & 1;
const flagged = flag => data.flags.includes(flag) ? rows.filter(row => has(row, flag)).length : 0;

// Bytes of a name that are not UTF-8 are U+DC80 to U+DCFF, as Python reads them.
const quoted = name => name.replace(/[^\w.~\/-]/gu, sign =>
  /[\udc80-\udcff]/u.test(sign) ? "%" + (sign.charCodeAt(0) - 0xdc00).toString(16) : encodeURIComponent(sign));
const link = ([before, after], name) => before + quoted(name) + after;

function facts() {
  const low = flagged("low_score"), grey = flagged("low_range");
  const tiles = [[rows.length, "images", "with a mask"], [data.failed, "failed", data.failed ? "listed below" : "none"]];
  if (data.left) tiles.push([data.left, "not done", "--resume continues"]);
  tiles.push([flagged("empty"), "empty", "no foreground"], [low, "low score", "flag low_score"]);
  if (grey) tiles.push([grey, "few grey levels", "flag low_range"]);
  if (rows.some(row => row.objects)) classes.forEach(({ name }, index) => tiles.push(
    [rows.reduce((sum, row) => sum + (row.objects ? row.objects[index] : 0), 0), "objects", name]));
  at("facts").append(...tiles.map(([value, name, note]) => make("div", { className: "fact" },
    make("b", {}, whole(value)), make("span", {}, name), make("small", {}, note))));
}

function failures() {
  at("failures").hidden = !data.failed;
  at("failures").open = data.failed < 6;
  at("failed").append(...data.failures.map(([input, page, reason]) =>
    make("li", {}, make("b", {}, input + (page ? " page " + page : "")), ": " + reason)));
  if (data.failed > data.failures.length) at("failed").append(make("li", {},
    whole(data.failed - data.failures.length) + " more in ", make("a", { href: quoted(data.failures_file) }, data.failures_file)));
}

function chart(title, colour, values, shown, counted, low, high) {
  if (!values.length) return [];
  low ??= values.reduce((a, b) => Math.min(a, b));
  high ??= values.reduce((a, b) => Math.max(a, b));
  const log = low > 0 && high / low > 100;
  const forth = log ? Math.log : value => value, back = log ? Math.exp : value => value;
  const from = forth(low), exact = (forth(high) - from) / BINS;
  const step = counted && !log ? Math.max(1, Math.ceil((high - low + 1) / BINS)) : exact || 1;
  const counts = new Array(BINS).fill(0);
  for (const value of values) counts[Math.min(BINS - 1, Math.floor((forth(value) - from) / step))]++;
  const most = Math.max(...counts), edge = index => shown(back(from + index * step));
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const drawn = (tag, values, parent) => {
    const element = parent.appendChild(document.createElementNS(svg.namespaceURI, tag));
    for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
    return element;
  };
  const middle = edge(BINS / 2);
  for (const [name, value] of [["viewBox", `0 0 ${BINS} 100`], ["preserveAspectRatio", "none"], ["role", "img"],
    ["aria-label", `${title}: ${whole(values.length)} images from ${edge(0)} to ${edge(BINS)}`]]) svg.setAttribute(name, value);
  counts.forEach((count, index) => {
    const height = count && Math.max(2, 100 * count / most);
    const bar = drawn("rect", { x: index + .06, y: 100 - height, width: .88, height, fill: colour }, svg);
    drawn("title", {}, bar).textContent = `${edge(index)} to ${edge(index + 1)}: ${whole(count)}`;
  });
  return [make("figure", {}, make("b", {}, title), make("small", {}, `highest bar: ${whole(most)}${log ? ", logarithmic" : ""}`),
    svg, make("div", { className: "axis" }, ...[edge(0), middle, edge(BINS)].map(text => make("small", {}, text))))];
}

function charts() {
  const scores = chosen.filter(row => row.area).map(row => row.score), digits = value => value.toFixed(2);
  const drawn = chart("score", "var(--good)", scores, digits, false, undefined, 1);
  if (ranked) drawn.push(...chart("doubt", "var(--fair)",
    chosen.map(row => row.doubt).filter(value => value !== null), digits, false, 0, 1));
  classes.forEach(({ name, colour }, index) => {
    drawn.push(...chart(`area of ${name}, pixels`, colour, chosen.map(row => row.areas[index]).filter(Boolean), short, true));
    drawn.push(...chart(`objects of ${name} per image`, colour,
      chosen.filter(row => row.objects).map(row => row.objects[index]), short, true));
  });
  at("charts").replaceChildren(...drawn);
}

function card(row) {
  const flags = data.flags.filter(flag => has(row, flag));
  const picture = make("img", { loading: "lazy", width: 192, height: 192, alt: "Overlay of " + row.name, src: link(data.thumbnail, row.name) });
  const lines = [`score ${row.score.toFixed(3)}` + (row.doubt === null ? "" : `, doubt ${row.doubt.toFixed(3)}`),
    ...classes.map(({ name }, index) => `${name} ${whole(row.areas[index])} px` +
      (row.objects ? `, ${whole(row.objects[index])} objects` : "")),
    `${row.width} x ${row.height}`, ...flags];
  return make("figure", {}, make("a", { href: link(data.full, row.name) }, picture),
    make("figcaption", {}, make("b", {}, row.name), ...lines.map(text => make("small", {}, text))));
}

function turn(to) {
  first = to;
  at("images").replaceChildren(...chosen.slice(first, first + PER_PAGE).map(card));
  const last = Math.min(first + PER_PAGE, chosen.length);
  at("page").textContent = `${whole(chosen.length && first + 1)} to ${whole(last)} of ${whole(chosen.length)}`;
  at("pages").hidden = chosen.length <= PER_PAGE;
  at("back").disabled = first === 0;
  at("next").disabled = last === chosen.length;
}

function choose() {
  const name = at("name").value.toLowerCase(), flag = at("flag").value, label = at("class").value;
  const least = at("from").value, most = at("to").value;
  const area = row => label ? row.areas[label] : row.area;
  const orders = { // images without foreground have no score
    doubt: (a, b) => ranked ? b.doubt - a.doubt : !a.area - !b.area || a.score - b.score,
    score: (a, b) => b.score - a.score, large: (a, b) => area(b) - area(a), small: (a, b) => area(a) - area(b), name: () => 0,
  };
  chosen = rows.filter(row => row.name.toLowerCase().includes(name)
    && (!flag || (flag === "none" ? !row.flags : has(row, flag))) && (!label || row.areas[label])
    && (!least || row.score >= least) && (!most || row.score <= most)).sort(orders[at("order").value]);
  at("said").textContent = `${whole(chosen.length)} of ${whole(rows.length)} images` + (at("order").value !== "doubt" ? ""
    : ranked ? ", by doubt" : ", by score (add --rank for doubt), those without foreground last");
  charts();
  turn(0);
}

function move(pages) {
  turn(first + pages * PER_PAGE);
  at("images").scrollIntoView();
}

at("flag").append(...data.flags.map(flag => make("option", {}, flag)));
at("class").append(...classes.map(({ name }, index) => make("option", { value: index }, name)));
let waiting;
at("filters").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(choose, 150); });
at("filters").addEventListener("reset", () => setTimeout(choose));
at("filters").addEventListener("submit", event => event.preventDefault());
at("back").addEventListener("click", () => move(-1));
at("next").addEventListener("click", () => move(1));
facts();
failures();
choose();
