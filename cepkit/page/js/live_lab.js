
/* In JupyterLab: the live sheet, wired to Python. */
export default {
  render({model, el}) {
    const root = document.createElement('div');
    root.className = 'cep-live';
    // Or JupyterLab would insert a cell at B and go to the next at ArrowDown.
    root.addEventListener('focusin', event => { event.target.dataset.lmSuppressShortcuts = ''; });
    el.append(root);
    const sheet = globalThis.cepLive.mount(root, model.get('options'));
    sheet.onReadout = readout => { model.set('readout', readout); model.save_changes(); };
    model.on('change:factors', () => sheet.setFactors(model.get('factors')));
    return () => sheet.destroy();
  },
};
