"""How thin the library is: lines, files, functions, import circles, private names across rooms.

python scripts/size.py
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("bench", "page", "check")  # beyond what the mission names
#: What the design grants: lines of all of cepkit, of what the mission names, of a file, of the code of a function.
BUDGET = {"all": 9000, "core": 5300, "file": 400, "function": 60}
#: Lines over the grant that nothing has paid for; not one more is allowed.  In what the mission names: a step for each
#: block, of second order, from tables; and what an attack on the table asked for.  In bench, which has twice its grant:
#: rows that are built as their authors build them, the sealed exam, the track of tissue, the flow map; and the paced
#: network (631), which stays beside the flow map, since no other network comes near the error of the solver's coarsest
#: step in less time.
OWED = {"all": 2199, "core": 324}
LARGE = {"cell.py": 500, "kernel.py": 500}


def modules(root=ROOT):
    """Name -> path of every module of the package."""
    paths = sorted((root / "cepkit").rglob("*.py"))
    names = (".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for path in paths)
    return dict(zip(names, paths, strict=True))


def is_docstring(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def functions(tree, source):
    """(name, lines of code) of every function: without docstring, comments and blank lines."""
    lines = source.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            kinds = ast.FunctionDef | ast.ClassDef
            first = [inner.body[0] for inner in ast.walk(node) if isinstance(inner, kinds)]
            skip = {k for one in first if is_docstring(one) for k in range(one.lineno, one.end_lineno + 1)}
            span = [k for k in range(node.lineno, node.end_lineno + 1) if k not in skip]
            code = [k for k in span if lines[k - 1].strip() and not lines[k - 1].strip().startswith("#")]
            yield node.name, len(code)


def imports(tree, known):
    """(module, name or None, inside a function) of everything that is imported from the package."""
    inner = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((a.name, None, id(node) in inner) for a in node.names if a.name in known)
        if isinstance(node, ast.ImportFrom) and node.level:
            yield "." * node.level + (node.module or ""), None, True  # not followed, and so not allowed
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "cepkit":
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full, None, id(node) in inner) if full in known else (node.module, alias.name, id(node) in inner)


def circle(graph):
    """A circle of imports as a list of modules, or None."""
    done, path = set(), []

    def visit(name):
        if name in path:
            return path[path.index(name) :] + [name]
        if name in done:
            return None
        path.append(name)
        found = next(filter(None, map(visit, sorted(graph.get(name, ())))), None)
        path.pop()
        done.add(name)
        return found

    return next(filter(None, map(visit, sorted(graph))), None)


def foreign_privates(tree, own, aliases):
    """Private names of other modules of the package that a module uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            if isinstance(node.value, ast.Name) and aliases.get(node.value.id, own) != own:
                yield f"{aliases[node.value.id]}.{node.attr}"


def measure(root=ROOT):
    """All figures of the package below ``root``, and what breaks the budget."""
    known, graph, faults, rows, longest = modules(root), {}, [], {}, []
    for name, path in known.items():
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        rows[name] = source.count("\n")
        used = list(imports(tree, known))
        graph[name] = {module for module, _, _ in used if module != name}
        faults += [f"{name} imports {m} inside a function or relatively" for m, _, inside in used if inside]
        private = [f"{m}.{n}" for m, n, _ in used if n and n.startswith("_") and not n.startswith("__")]
        aliases = {m.rpartition(".")[2]: m for m, n, _ in used if n is None}
        faults += [f"{name} uses {p}, a private name" for p in [*private, *foreign_privates(tree, name, aliases)]]
        limit = LARGE.get(path.name, BUDGET["file"])
        faults += [f"{name} has {rows[name]} lines, over {limit}"] if rows[name] > limit else []
        longest += [(size, f"{name}.{function}") for function, size in functions(tree, source)]
    core = sum(n for name, n in rows.items() if name.split(".")[1:2] not in [[room] for room in ROOMS])
    totals = {"all": sum(rows.values()), "core": core}
    budget = {what: BUDGET[what] + OWED[what] for what in totals}
    faults += [f"{what}: {n} lines, over {budget[what]}" for what, n in totals.items() if n > budget[what]]
    faults += [f"{name} has {size} lines of code, over {BUDGET['function']}" for size, name in longest
               if size > BUDGET["function"]]  # fmt: skip
    found = circle(graph)
    faults += [f"import circle: {' -> '.join(found)}"] if found else []
    return rows, totals, sorted(longest, reverse=True), graph, faults


if __name__ == "__main__":
    rows, totals, longest, graph, faults = measure(Path(sys.argv[1]).resolve() if sys.argv[1:] else ROOT)
    for name, lines in rows.items():
        print(f"{lines:5d}  {name:36s} {' '.join(sorted(other.removeprefix('cepkit.') for other in graph[name]))}")
    over = max(totals["all"] - BUDGET["all"], 0)
    print(
        f"\n{totals['all']} lines of {BUDGET['all']}, {over} over it; what the mission names: "
        f"{totals['core']} of {BUDGET['core']}"
    )
    print("longest functions: " + ", ".join(f"{name} {size}" for size, name in longest[:5]))
    fine = "no import circle, no private name across rooms, nothing else over its budget"
    print("\n".join(["", *faults]) if faults else fine)
    sys.exit(bool(faults))
