(() => {
  for (const table of document.querySelectorAll('.cep-sortable table:not([data-ready])')) {
    table.dataset.ready = 1;
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    heads.forEach((head, column) => head.querySelector('button').addEventListener('click', () => {
      const up = head.getAttribute('aria-sort') !== 'ascending';
      heads.forEach(other => other.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      const key = row => row.cells[column].dataset.value, words = row => row.cells[column].textContent;
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === undefined || y === undefined)
          return (x === undefined) - (y === undefined) || words(a).localeCompare(words(b)) * (up ? 1 : -1);
        return (x - y) * (up ? 1 : -1);
      };
      body.append(...[...body.rows].sort(compare));
    }));
  }
})();
