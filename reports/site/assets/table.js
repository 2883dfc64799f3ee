"use strict";
// Sorting, filtering and cell notes of the tables. Without this script they are plain tables.
(() => {
  const valueOf = (cell, kind) => {
    const text = cell.dataset.value;
    if (text === "") return null;
    return kind === "number" ? Number(text) : text.toLowerCase();
  };

  // Missing values go last whichever way; ties keep the order of the report.
  const sorted = (rows, index, kind, ascending) => {
    const keyed = rows.map((row, place) => ({ row, place, value: valueOf(row.cells[index], kind) }));
    return keyed
      .sort((a, b) => {
        if (a.value === null || b.value === null) {
          return (a.value === null) - (b.value === null) || a.place - b.place;
        }
        const order = a.value < b.value ? -1 : a.value > b.value ? 1 : 0;
        return (ascending ? order : -order) || a.place - b.place;
      })
      .map((entry) => entry.row);
  };

  const makeSortable = (table) => {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const headers = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    headers.forEach((header, index) => {
      const kind = header.dataset.kind;
      // the first press shows the best on top
      const firstAscending = kind === "text" || header.dataset.better === "lower";
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => {
        const now = header.getAttribute("aria-sort");
        const ascending = now === null ? firstAscending : now === "descending";
        headers.forEach((other) => other.removeAttribute("aria-sort"));
        header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        body.append(...sorted(original, index, kind, ascending));
      });
    });
  };

  const makeFilter = (form) => {
    const table = document.getElementById(form.dataset.filterFor);
    const rows = [...table.tBodies[0].rows];
    const text = form.querySelector("[data-filter=text]");
    const method = form.querySelector("[data-filter=method]");
    const output = form.querySelector("output");
    const apply = () => {
      const wanted = text.value.trim().toLowerCase();
      let shown = 0;
      for (const row of rows) {
        row.hidden = !(
          row.dataset.label.toLowerCase().includes(wanted) &&
          (method.value === "" || row.dataset.method === method.value)
        );
        shown += row.hidden ? 0 : 1;
      }
      output.textContent = shown === rows.length ? "" : `${shown} of ${rows.length} runs shown`;
    };
    form.hidden = false;
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    apply();
  };

  // One note for all cells; one stop for the Tab key in each table, arrow keys from there.
  const tip = document.getElementById("tip");
  const showTip = (cell) => {
    tip.textContent = cell.dataset.tip;
    tip.hidden = false;
    cell.setAttribute("aria-describedby", "tip");
    const box = cell.getBoundingClientRect();
    const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
    const below = box.bottom + tip.offsetHeight + 8 < innerHeight;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${below ? box.bottom + 4 : box.top - tip.offsetHeight - 4}px`;
  };
  const hideTip = (cell) => {
    tip.hidden = true;
    cell?.removeAttribute("aria-describedby");
  };
  const cellOf = (event) =>
    event.target instanceof Element ? event.target.closest("td[data-tip]") : null;

  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const neighbour = (cell, [down, right]) => {
    const rows = [...cell.closest("tbody").rows].filter((row) => !row.hidden);
    let row = rows.indexOf(cell.parentElement);
    let column = cell.cellIndex;
    for (;;) {
      row += down;
      column += right;
      const next = rows[row]?.cells[column];
      if (next === undefined || next.dataset.tip !== undefined) return next;
    }
  };

  const makeTips = (table) => {
    const cells = [...table.querySelectorAll("tbody td[title]")];
    cells.forEach((cell, index) => {
      cell.dataset.tip = cell.title;
      cell.removeAttribute("title");
      cell.tabIndex = index === 0 ? 0 : -1;
    });
    table.addEventListener("mouseover", (event) => {
      const cell = cellOf(event);
      if (cell) showTip(cell);
    });
    table.addEventListener("mouseout", (event) => hideTip(cellOf(event)));
    table.addEventListener("focusin", (event) => {
      const cell = cellOf(event);
      if (!cell) return;
      for (const other of cells) other.tabIndex = -1;
      cell.tabIndex = 0;
      showTip(cell);
    });
    table.addEventListener("focusout", (event) => hideTip(cellOf(event)));
    table.addEventListener("keydown", (event) => {
      const cell = cellOf(event);
      if (!cell) return;
      if (event.key === "Escape") hideTip(cell);
      const next = steps[event.key] && neighbour(cell, steps[event.key]);
      if (!next) return;
      event.preventDefault();
      next.focus();
    });
  };
  addEventListener("scroll", () => hideTip(null), { passive: true, capture: true });

  document.querySelectorAll("table[data-sortable]").forEach(makeSortable);
  document.querySelectorAll("form[data-filter-for]").forEach(makeFilter);
  document.querySelectorAll("table[data-sortable], table[data-tips]").forEach(makeTips);
})();
