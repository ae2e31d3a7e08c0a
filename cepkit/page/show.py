"""Source code for a page: what runs, without what is written about it."""

import ast
import inspect
import textwrap

from IPython.display import Markdown


def show(thing):
    """The source of a function or class without its docstrings, as Markdown.

    Examples
    --------
    >>> print(cep.show(cep.forecast.free_run).data.splitlines()[1])
    def free_run(step, x_0, h_0, steps):
    """
    source = textwrap.dedent(inspect.getsource(thing))
    lines = source.splitlines()
    kinds = ast.FunctionDef | ast.ClassDef
    for node in sorted((n for n in ast.walk(ast.parse(source)) if isinstance(n, kinds)), key=lambda n: -n.lineno):
        first = node.body[0]
        if len(node.body) > 1 and ast.get_docstring(node) is not None:
            end = first.end_lineno + (not lines[first.end_lineno].strip())
            del lines[first.lineno - 1 : end]
    return Markdown("```python\n" + "\n".join(lines) + "\n```")
