"use strict";
// Filter, sort, copy and theme. Without this script the page shows everything, in the order of its verdicts.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const bar = document.querySelector(".toolbar");
  bar.hidden = false;

  // The theme: that of the system, until one is chosen.
  const root = document.documentElement, theme = bar.querySelector("select");
  const remembered = (() => { try { return localStorage.getItem("oracle-theme"); } catch { return null; } })();
  const choose = (value) => {
    if (value === "system") root.removeAttribute("data-theme"); else root.setAttribute("data-theme", value);
    theme.value = value;
    try { localStorage.setItem("oracle-theme", value); } catch { /* a page from a file may have no storage */ }
  };
  choose(["light", "dark"].includes(remembered) ? remembered : "system");
  theme.addEventListener("change", () => choose(theme.value));

  // The filter: all words must be in a row's op, case, parameter, dtype or evidence; and its verdict must be switched on.
  const box = bar.querySelector("input[type=search]"), found = bar.querySelector("output");
  const verdicts = all("input[type=checkbox]", bar);
  const words = (element) => element.textContent.toLowerCase();
  let rows = null;
  const index = () => all("tr[data-verdict]").map((row) => {
    const op = row.closest("details"), family = op.parentElement.closest("details");
    const named = op.querySelector("summary strong").textContent + " " + family.querySelector("summary strong").textContent;
    return { row, op, family, text: named.toLowerCase() + " " + words(row) };
  });
  const filter = () => {
    rows = rows || index();
    const asked = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const on = new Set(verdicts.filter((one) => one.checked).map((one) => one.value));
    const active = asked.length > 0 || on.size < verdicts.length;
    const kept = new Map();
    let count = 0;
    for (const { row, op, family, text } of rows) {
      const shown = on.has(row.dataset.verdict) && asked.every((word) => text.includes(word));
      row.hidden = !shown;
      count += shown;
      for (const group of [op, family]) kept.set(group, kept.get(group) || shown);
    }
    for (const [group, shown] of kept) {
      group.hidden = !shown;
      if (active && count <= 200) group.open = shown;
    }
    for (const card of all("details.failure")) {
      const text = words(card);
      card.hidden = !(on.has(card.dataset.verdict) && asked.every((word) => text.includes(word)));
    }
    found.textContent = active ? `${count} of ${rows.length} rows` : "";
  };
  box.addEventListener("input", filter);
  for (const one of verdicts) one.addEventListener("change", filter);

  // Sorting: a click on the head of a column, and once more for the other direction. A dash stays last.
  const value = (cell) => {
    const text = cell.textContent.trim(), number = Number(text);
    return text === "-" || text === "" ? null : Number.isNaN(number) ? text : number;
  };
  for (const button of all("th button")) button.addEventListener("click", () => {
    const head = button.parentElement, table = head.closest("table"), column = head.cellIndex;
    const down = head.getAttribute("aria-sort") !== "descending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const sorted = all("tbody tr", table).map((row) => [value(row.cells[column]), row]);
    const compared = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
    sorted.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null) : down ? compared(b, a) : compared(a, b));
    table.tBodies[0].append(...sorted.map(([, row]) => row));
  });

  // Commands can be copied.
  for (const command of all("pre.command")) {
    const button = document.createElement("button");
    button.textContent = "copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(command.textContent);
      button.textContent = "copied";
    });
    command.before(button);
  }

  // A link to a card opens it.
  const open = () => { const card = location.hash && document.getElementById(location.hash.slice(1)); if (card) card.open = true; };
  window.addEventListener("hashchange", open);
  open();
})();
