
/* In JupyterLab: a control in an output, its numbers as bytes. */
// Or JupyterLab would go to the next cell at ArrowDown.
const keepKeys = box => box.addEventListener('focusin', event => { event.target.dataset.lmSuppressShortcuts = ''; });

export default {
  render({model, el}) {
    const root = document.createElement('div');
    root.className = 'cep-widget';
    keepKeys(root);
    el.append(root);
    // Beside a plot stand the sliders that Python listens to.
    const claim = () => {
      if (!el.isConnected) requestAnimationFrame(claim);
      else if (el.closest('.cep-explore')) keepKeys(el.closest('.cep-explore'));
    };
    claim();
    let stop;
    const build = () => {
      stop?.();
      root.replaceChildren();
      const data = model.get('data');  // a view into a message: numbers need not begin where their type may begin
      const buffer = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
      stop = mount(root, model.get('kind'), model.get('payload'), buffer);
    };
    build();
    model.on('change:payload', build);
    return () => { model.off('change:payload', build); stop?.(); };
  },
};
