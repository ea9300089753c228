"use strict";
// Sorts tables by the column whose heading is pressed, and filters long ones. The page is complete without it.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const key = (cell) => {
    const text = cell.dataset.sort ?? cell.firstChild?.textContent ?? "";
    const number = cell.classList.contains("num") ? Number(text.replaceAll(",", "")) : NaN;
    return text === "" || Number.isNaN(number) ? text : number;
  };
  // Numbers before words, so that a dash stays at the end, whichever way numbers are sorted.
  const order = (a, b, down) => {
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    const sign = down ? -1 : 1;
    return sign * (typeof a === "number" ? a - b : a.localeCompare(b));
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [key(row.cells[column]), row]);
      rows.sort((a, b) => order(a[0], b[0], down));
      const sorted = document.createDocumentFragment();
      for (const [, row] of rows) sorted.append(row);
      body.append(sorted);
    });
  });
  if (!table.dataset.filter) continue;
  const all = [...body.rows];
  const label = document.createElement("label");
  const input = document.createElement("input");
  const output = document.createElement("output");
  const bar = document.createElement("div");
  bar.className = "filter";
  label.append("Filter ", input);
  input.type = "search";
  input.placeholder = "words, all of them in a row";
  input.setAttribute("aria-label", `Filter: ${table.dataset.filter}`);
  const tell = (shown) => {
    output.textContent = shown === all.length ? `${all.length} rows` : `${shown} of ${all.length} rows`;
  };
  let texts;
  input.addEventListener("input", () => {
    texts ??= all.map((row) => [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase());
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    all.forEach((row, i) => {
      row.hidden = !words.every((word) => texts[i].includes(word));
      shown += row.hidden ? 0 : 1;
    });
    tell(shown);
  });
  tell(all.length);
  bar.append(label, output);
  table.parentElement.before(bar);
}
// On paper everything is open.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const details of closed) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of closed) details.open = false;
});
