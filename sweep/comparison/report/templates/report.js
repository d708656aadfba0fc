"use strict";
// Tables sort by a click or by Enter on a heading, and show the rows that hold every word typed.
for (const table of document.querySelectorAll("table.data")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = heading.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") === (heading.dataset.first || "ascending")
        ? (heading.dataset.first === "descending" ? "ascending" : "descending")
        : heading.dataset.first || "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", up);
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const order = up === "ascending" ? 1 : -1;
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === "" || y === "") return (x === "") - (y === ""); // nothing is always last
        const numbers = Number(x) - Number(y);
        return order * (Number.isNaN(numbers) ? x.localeCompare(y) : numbers);
      });
      body.append(...rows);
    });
  });
}
for (const input of document.querySelectorAll(".filter input")) {
  const rows = [...document.getElementById(input.dataset.table).tBodies[0].rows];
  const shown = document.getElementById(input.dataset.table + "-shown");
  const say = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    shown.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  };
  input.addEventListener("input", say);
  say();
}
addEventListener("beforeprint", () => {
  for (const item of document.querySelectorAll("details")) item.open = true;
});
