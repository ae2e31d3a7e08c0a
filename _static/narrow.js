/* A table that is wider than its column is set tighter, and where that is not enough its rows become blocks with a
   label before each number, so that nothing is cut and nothing scrolls sideways. */
const titles = (table) => {
  const out = [];
  for (const row of table.tHead ? table.tHead.rows : []) {
    let k = 0;
    for (const cell of row.cells) {
      const text = cell.textContent.trim();
      for (let n = cell.colSpan; n > 0; n--, k++) out[k] = [out[k], text].filter(Boolean).join(', ');
    }
  }
  return out;
};

const label = (table) => {
  if (table.dataset.labelled) return;
  table.dataset.labelled = 1;
  const heads = titles(table), open = [];
  for (const row of table.tBodies[0]?.rows ?? []) {
    let k = 0;
    for (const cell of row.cells) {
      while (open[k] > 0) open[k++]--;
      if (heads[k]) cell.dataset.label = heads[k];
      if (cell.rowSpan > 1) open[k] = cell.rowSpan - 1;
      k += cell.colSpan;
    }
    row.setAttribute('role', 'row');
    for (const cell of row.cells) cell.setAttribute('role', cell.tagName === 'TH' ? 'rowheader' : 'cell');
  }
  table.setAttribute('role', 'table');
};

// A table may be as wide as its box and its cells wider still.
const over = (table, room) => Math.max(table.offsetWidth, table.scrollWidth) > room + 1;

const fit = () => {
  for (const table of document.querySelectorAll('.bd-article table:not(.cep-live table)')) {
    table.classList.remove('tight', 'stacked');
    const box = table.closest('.cell_output, .cep-sortable, .pst-scrollable-table-container') ?? table.parentElement;
    const room = box.clientWidth;
    if (!room || !over(table, room)) continue;
    table.classList.add('tight');
    if (!over(table, room)) continue;
    label(table);
    table.classList.add('stacked');
  }
};

addEventListener('load', fit);
addEventListener('resize', fit);
addEventListener('click', () => setTimeout(fit, 300));  // a solution or a cell was opened
