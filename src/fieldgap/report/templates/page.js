// Without this script the page has the same figures and tables, but they cannot be clicked or sorted.
const value = (cell) => {
  const number = Number.parseFloat(cell.dataset.value ?? cell.textContent);
  return Number.isNaN(number) ? cell.textContent.trim() : number;
};
const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => (down ? -1 : 1) * order(value(a.cells[column]), value(b.cells[column])));
      table.tBodies[0].append(...rows);
    });
  });
}
// The charts are interpreted, not compiled, so that the page needs no permission to evaluate text as code.
for (const holder of document.querySelectorAll("script[type='application/json']")) {
  const target = document.getElementById(holder.dataset.figure);
  vegaEmbed(target, JSON.parse(holder.textContent), { actions: false, renderer: "svg", ast: true });
}
