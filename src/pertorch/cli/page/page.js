// Tables sort by the column whose heading is pressed: numbers the largest first, words from A; pressed again, the
// other way. What is missing stays at the end.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const words = new Intl.Collator("en", { numeric: true });
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const isText = head.classList.contains("text");
      const before = head.getAttribute("aria-sort");
      const order = before === (isText ? "ascending" : "descending") ? -1 : 1;
      const sign = isText ? order : -order;
      const key = (row) => {
        const cell = row.cells[column];
        if (isText) return cell.textContent === "–" ? null : cell.textContent;
        return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
      };
      const rows = [...body.rows].map((row) => [key(row), row]);
      rows.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null);
        return sign * (isText ? words.compare(a, b) : a - b);
      });
      body.append(...rows.map(([, row]) => row));
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    });
  });
}
