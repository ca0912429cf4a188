"use strict";
(() => {
  const collator = new Intl.Collator("en", { numeric: true });

  // numbers as numbers, all else as text; what is missing comes last in both directions
  function compare(one, other, direction) {
    const missing = one.missing - other.missing;
    if (missing !== 0 || one.missing) return missing;
    return direction * (one.number === null ? collator.compare(one.text, other.text) : one.number - other.number);
  }

  function key(cell, numeric) {
    const text = cell.textContent.trim();
    if (!numeric) return { number: null, text, missing: text === "" || text === "–" ? 1 : 0 };
    const number = cell.dataset.number === undefined ? NaN : Number(cell.dataset.number);
    return { number, text, missing: Number.isNaN(number) ? 1 : 0 };
  }

  function sort(table, column, direction) {
    const body = table.tBodies[0];
    const numeric = table.tHead.rows[0].cells[column].classList.contains("number");
    const rows = [...body.rows].map((row) => ({ row, key: key(row.cells[column], numeric) }));
    rows.sort((a, b) => compare(a.key, b.key, direction));
    body.append(...rows.map((entry) => entry.row));
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = "Sort by this column";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", direction);
        sort(table, column, direction === "ascending" ? 1 : -1);
      });
    });
  }

  // a link into a folded part opens it
  function unfold() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let element = target; element !== null; element = element.parentElement) {
      if (element instanceof HTMLDetailsElement) element.open = true;
    }
    if (target !== null) target.scrollIntoView();
  }
  addEventListener("hashchange", unfold);
  if (location.hash.length > 1) unfold();

  // on paper everything is open
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const element of folded) element.open = true;
  });
  addEventListener("afterprint", () => {
    for (const element of folded) element.open = false;
  });
})();
