// Filters, sorting and opened details for every table of class slm-filter. Without this script the table is a plain one.
//
// In the page:  <table class="slm-filter" data-noun="claims">
//   <th data-filter>            gives the column a select of its values, or of the cells' data-group
//   <td data-sort="1300">       what to sort by, where it is not the text
//   <tr class="more">           details of the row before it: opened by that row's link, moved along with it
//   data-switch="ours"          rows of that class show only when a switch, labelled data-switch-label, is on;
//                               so do elements with data-with="ours", and those with data-without="ours" when it is off
//   [data-mark="ID"]            anywhere: hidden with the row whose data-row is ID, and opens it by a click
"use strict";

const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const textOf = cell => cell.textContent.replace(/\s+/g, " ").trim();
const sortKey = cell => cell.dataset.sort ?? textOf(cell);
const groupOf = cell => cell.dataset.group ?? textOf(cell);
const isNumber = key => key !== "" && !isNaN(key);
const compare = (a, b) => (isNumber(a) && isNumber(b) ? a - b : a.localeCompare(b, "en", { numeric: true }));
const isBlank = cell => !!cell.querySelector(".slm-blank") || textOf(cell) === "";

function enhance(table, number) {
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...table.tBodies[0].rows].filter(row => !row.classList.contains("more"));
  const more = new Map(rows.map(row => [row, row.nextElementSibling]).filter(([, next]) => next?.matches(".more")));
  const noun = table.dataset.noun || "rows";
  const selects = new Map();
  const marks = new Map([...document.querySelectorAll("[data-mark]")].map(mark => [mark, mark.dataset.mark]));

  // -- what is shown
  const search = make("input", { type: "search", id: `slm-search-${number}`, autocomplete: "off" });
  const count = make("output", { className: "slm-count" });
  const reset = make("button", { type: "button", textContent: "Show all", className: "slm-reset" });
  const extra = table.dataset.switch && make("input", { type: "checkbox", id: `slm-switch-${number}` });

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const candidates = rows.filter(row => !extra || extra.checked || !row.classList.contains(table.dataset.switch));
    const shown = new Set(candidates.filter(row => {
      const text = row.textContent.toLowerCase();
      return words.every(word => text.includes(word)) &&
        [...selects].every(([i, select]) => !select.value || groupOf(row.cells[i]) === select.value);
    }));
    for (const row of rows) {
      row.hidden = !shown.has(row);
      if (more.has(row)) more.get(row).hidden = row.hidden || opener(row).ariaExpanded !== "true";
    }
    const ids = new Set([...shown].map(row => row.dataset.row));
    for (const [mark, id] of marks) mark.style.display = ids.has(id) ? "" : "none";
    if (extra) {
      const name = table.dataset.switch;
      document.querySelectorAll(`[data-with="${name}"]`).forEach(element => (element.hidden = !extra.checked));
      document.querySelectorAll(`[data-without="${name}"]`).forEach(element => (element.hidden = extra.checked));
    }
    count.textContent = `${shown.size} of ${candidates.length} ${noun}`;
    reset.hidden = shown.size === candidates.length;
  }

  // -- the order
  function sort(column) {
    const down = heads[column].ariaSort === "ascending";
    heads.forEach(head => head.removeAttribute("aria-sort"));
    heads[column].ariaSort = down ? "descending" : "ascending";
    const ordered = [...rows].sort((a, b) => {
      const [left, right] = [a.cells[column], b.cells[column]];
      if (isBlank(left) || isBlank(right)) return isBlank(left) - isBlank(right); // what is not known comes last
      return compare(sortKey(left), sortKey(right)) * (down ? -1 : 1);
    });
    table.tBodies[0].append(...ordered.flatMap(row => (more.has(row) ? [row, more.get(row)] : [row])));
  }

  // -- a row's details
  const opener = row => row.querySelector("button.slm-open");
  function open(row, opened) {
    opener(row).ariaExpanded = String(opened);
    more.get(row).querySelector("details").open = true;
    show();
  }
  function openById(id) {
    const row = [...more].find(([row, next]) => row.dataset.row === id || next.querySelector(`[id="${id}"]`))?.[0];
    if (!row) return;
    if (extra && row.classList.contains(table.dataset.switch)) extra.checked = true;
    if (row.hidden) clear();
    open(row, true);
    row.scrollIntoView({ block: "start" });
    opener(row).focus({ preventScroll: true });
  }
  function clear() {
    search.value = "";
    selects.forEach(select => (select.value = ""));
    show();
  }

  for (const [row, next] of more) {
    const link = row.querySelector("a");
    const button = make("button", { type: "button", className: "slm-open", textContent: link.textContent });
    button.ariaExpanded = "false";
    next.id ||= `${row.dataset.row || `slm-row-${number}-${row.rowIndex}`}-more`;
    button.setAttribute("aria-controls", next.id);
    button.addEventListener("click", () => open(row, button.ariaExpanded !== "true"));
    link.replaceWith(button);
  }
  for (const [mark, id] of marks) mark.addEventListener("click", () => openById(id));

  // -- the bar above the table
  const labelled = (text, control) => make("label", {}, make("span", { textContent: text }), control);
  const bar = make("div", { className: "slm-bar-of-filters" }, labelled("search", search));
  heads.forEach((head, i) => {
    const name = textOf(head);
    const button = make("button", { type: "button", className: "slm-sort" }, ...head.childNodes);
    button.addEventListener("click", () => sort(i));
    head.append(button);
    if (!("filter" in head.dataset)) return;
    const found = new Map(rows.map(row => [groupOf(row.cells[i]), row.cells[i]]));
    const groups = [...found].sort((a, b) =>
      isBlank(a[1]) - isBlank(b[1]) || compare(sortKey(a[1]), sortKey(b[1]))).map(([group]) => group);
    const options = groups.map(group => make("option", { value: group, textContent: group }));
    const select = make("select", {}, make("option", { value: "", textContent: "all" }), ...options);
    select.addEventListener("change", show);
    selects.set(i, select);
    bar.append(labelled(name, select));
  });
  if (extra) {
    bar.append(make("label", { className: "slm-switch" }, extra, ` ${table.dataset.switchLabel}`));
    extra.addEventListener("change", show);
  }
  bar.append(make("div", { className: "slm-state" }, count, reset));
  search.addEventListener("input", show);
  reset.addEventListener("click", () => { clear(); search.focus(); });
  (table.closest(".slm-scroll") ?? table).before(bar);
  table.classList.add("slm-live");
  show();

  const fromAddress = () => openById(decodeURIComponent(location.hash.slice(1)));
  addEventListener("hashchange", fromAddress);
  fromAddress();
}

document.querySelectorAll("table.slm-filter").forEach(enhance);
