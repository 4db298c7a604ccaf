// Tables sort by a click on a column's head; without scripts they stay in the layers' order.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const number = head.classList.contains("number");
      const before = head.getAttribute("aria-sort");
      // Figures start with the largest, names with the first.
      const up = before ? before === "descending" : !number;
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const exact = (row) => row.cells[column].dataset.value;
      const order = (a, b) => {
        if (a === "" || b === "") return (a === "") - (b === "");  // what is empty comes last
        const compared = number ? a - b : a.localeCompare(b, "en", { numeric: true });
        return up ? compared : -compared;
      };
      body.append(...[...body.rows].sort((a, b) => order(exact(a), exact(b))));
    });
  });
}
