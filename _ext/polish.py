"""What the theme leaves to be mended on every page; a Sphinx extension that is loaded after all others."""

import os
import re

MENDED = (
    # A whole entry of a list has the role "listitem"; the one that docutils writes is deprecated and breaks the list.
    (r'role="doc-biblioentry"', 'role="listitem"'),
    # The line above a folded cell says what the cell does; the label would say something else in its place.
    (r'<summary aria-label="Toggle hidden content">', "<summary>"),
    # An empty corner of a table heads nothing.
    (r"<th[^>]*>\s*(?:<p>\s*</p>)?\s*</th>", "<td></td>"),
    # A table that is wider than a telephone scrolls in a box of its own, which the keyboard reaches.
    (r'(<table[^>]*class="dataframe".*?</table>)', r'<div class="table-scroll" tabindex="0">\1</div>'),
    # The list of source pages holds lists beside its items, where only items may be.
    (r"</li>\s*<ul>(.*?)</ul>", r"<ul>\1</ul></li>"),
)

#: The theme's own buttons: a name that is what is seen, and landmarks around all that is there.
LABELS = """addEventListener('DOMContentLoaded', () => {
  const each = (selector, act) => document.querySelectorAll(selector).forEach(act);
  each('.search-button-field', node => node.removeAttribute('aria-label'));
  const hush = () => each('.theme-switch', node => {  // an icon, until it is a drawing, whenever that is
    node.removeAttribute('title');
    node.setAttribute('aria-hidden', true);
    node.querySelector('title')?.remove();
  });
  hush();
  each('.theme-switch-button', node => new MutationObserver(hush).observe(node, {childList: true}));
  each('.bd-sidebar-primary', node => { node.setAttribute('role', 'region'); node.ariaLabel = 'Contents'; });
});"""


def mend(app, name, template, context, doctree):
    """Replace what a browser or a screen reader would stumble over."""
    for pattern, better in MENDED:
        context["body"] = re.sub(pattern, better, context.get("body", ""), flags=re.DOTALL)
    context["css_files"] = [file for file in context["css_files"] if "thebe" not in str(file.filename)]


def launch(app, config):
    """Buttons that open a chapter in Colab or Binder, once REPOSITORY says where the book can be cloned from."""
    if address := os.environ.get("REPOSITORY"):
        hosts = {"colab_url": "https://colab.research.google.com", "binderhub_url": "https://mybinder.org"}
        buttons = hosts | {"notebook_interface": "jupyterlab"}
        config.html_theme_options |= {"repository_url": address.removesuffix(".git"), "launch_buttons": buttons,
                                       "repository_branch": "main"}  # fmt: skip


def setup(app):
    # Jupyter Book loads sphinx_thebe always; without a server to talk to it leaves errors on the console only.
    for event, listeners in app.events.listeners.items():
        app.events.listeners[event] = [one for one in listeners if one.handler.__module__ != "sphinx_thebe"]
    # Unless this is said, the theme calls its own empty default invalid, on the console.
    app.add_js_file(None, body='document.documentElement.dataset.mode ||= "auto"')
    app.add_js_file(None, body=LABELS)
    app.connect("config-inited", launch)
    app.connect("html-page-context", mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
