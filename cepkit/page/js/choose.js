(() => {
  for (const box of document.querySelectorAll('.cep-explorer:not([data-ready])')) {
    box.dataset.ready = 1;
    const select = box.querySelector('select'), tables = [...box.querySelectorAll('.cep-sortable')];
    const show = () => tables.forEach((table, k) => { table.hidden = k !== select.selectedIndex; });
    select.addEventListener('change', show);
    show();
  }
})();
