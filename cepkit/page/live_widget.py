"""The live sheet as a widget for JupyterLab: the same script, wired to Python."""

import anywidget
import traitlets

from cepkit.page.live import _options, script

_RENDER = """
export default {
  render({ model, el }) {
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
"""


class LiveSheet(anywidget.AnyWidget):
    """A live sheet in a notebook.

    Parameters
    ----------
    rows, cycle_length, factors
        As in :func:`cepkit.page.live.html`.

    Attributes
    ----------
    factors : dict
        Conductances as multiples of normal; may be set while it runs.
    readout : dict
        What the sheet shows, four times a second: ``t`` [ms], ``error`` (z-MSE of the four variables), ``rms`` [mV],
        ``clocks`` (ms of computing for a millisecond of tissue: solver, network), ``frames`` a second.

    Examples
    --------
    >>> sheet = cep.page.live.LiveSheet(rows=24, cycle_length=400)
    >>> sheet.factors = {"gKr": 0.5}
    """

    options = traitlets.Dict().tag(sync=True)
    factors = traitlets.Dict().tag(sync=True)
    readout = traitlets.Dict().tag(sync=True)

    def __init__(self, rows=24, cycle_length=500, factors=None):
        options = _options(rows, cycle_length, factors)
        super().__init__(_esm=script() + _RENDER, options=options, factors=options["factors"])
