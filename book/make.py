"""Run the chapters and render the book.

``make book`` is ``run`` followed by ``render``. Everything lands in ``_build/``: the executed notebooks in
``executed/<profile>/`` with a summary, ``run.json``, beside them, the pages in ``html/``. A chapter that has not
changed since it was last executed is not executed again, so a run that was interrupted goes on where it stopped.
"""

import argparse
import ast
import base64
import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import yaml

from cepkit import figures, page, runs
from cepkit.page import live

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
DATA = Path(os.environ.get("CEPKIT_DATA") or ROOT / "data")
PACKAGES = ("numpy", "numba", "scipy", "torch", "torchdiffeq", "xarray", "zarr", "matplotlib", "jupyter-book")
#: Of all that makes a number, a figure or a control; whoever changes what a page shows bumps one of them.
VERSIONS = runs.versions() | {"figures": figures.VERSION, "page": page.VERSION}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE_LIMIT = 2_000_000  # characters of widget state worth keeping in git


def chapters():
    """The notebooks that _toc.yml lists, in its order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    entries = [Path(entry["file"]) for part in toc["parts"] for entry in part["chapters"]]
    notebooks = [ROOT / f"{entry}.ipynb" for entry in entries if entry.name[:2].isdigit()]
    missing = [str(path.relative_to(ROOT)) for path in notebooks if not path.exists()]
    if missing:
        sys.exit(f"_toc.yml lists {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not there.")
    return notebooks


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def outside():
    """One hash of what a notebook's outputs depend on beside itself: VERSIONs, packages, kept weights and results."""
    data = ROOT / "data"
    results = [*data.glob("*.json"), *data.glob("*.npz"), *(data / "models").glob("*/card.json")]
    results += [*(data / "scorecards").rglob("*"), *(data / "gpu").glob("*")]
    files = [ROOT / "requirements.lock", BOOK / "textbook.py", *sorted(results)]
    hashes = [f"{path.relative_to(ROOT)} {sha256(path.read_bytes())}\n" for path in files if path.is_file()]
    return sha256("".join([json.dumps(VERSIONS, sort_keys=True), *hashes]).encode())


def run_files(profile):
    """What chapters leave for later ones (trained weights, results): {path: (sha256, modification time)}."""
    folder = DATA / "runs" / profile
    return {
        str(path.relative_to(DATA)): (sha256(path.read_bytes()), path.stat().st_mtime)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def chapter_key(notebook, code, profile, retrain, inherited):
    """Hash of all that decides a chapter's outputs; `inherited` are the files that earlier chapters left."""
    cells = [
        [cell.cell_type, cell.source, cell.metadata.get("tags", []), cell.metadata.get("mystnb", {})]
        for cell in notebook.cells
    ]
    return sha256(json.dumps([cells, code, profile, retrain, inherited], sort_keys=True).encode())


def provenance():
    """Versions and data a chapter was executed with, for its metadata and the status page."""
    versions = {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}
    stores = {}
    for path in sorted(DATA.glob("golden/*.zarr/zarr.json")):
        attributes = json.loads(path.read_text()).get("attributes", {})
        stores[path.parent.stem] = attributes.get("data_hash", attributes.get("hash", "unfinished"))
    return {"versions": versions, "stores": stores, "machine": f"{platform.machine()}, {os.cpu_count()} cores"}


def tidy(notebook):
    """Strip what differs from run to run and says nothing: time stamps, tool metadata, random widget ids."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        for name in ("papermill", "execution"):
            cell.metadata.pop(name, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
    # A page needs the state of the widgets it shows, and asks another host for their scripts: not for a hidden one.
    hidden = {"remove-output", "remove-cell"}
    shown = [cell for cell in notebook.cells if not hidden & set(cell.metadata.get("tags", []))]
    if not any(WIDGET_VIEW in output.get("data", {}) for cell in shown for output in cell.get("outputs", [])):
        notebook.metadata.pop("widgets", None)
    text = nbformat.writes(notebook)
    states = notebook.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    for number, model in enumerate(states):
        text = text.replace(model, f"{number:032x}")
    return nbformat.reads(text, as_version=4)


def write(notebook, path):
    """Write whole or not at all."""
    partial = path.with_suffix(".partial")
    nbformat.write(notebook, partial)
    partial.replace(path)


def execute(chapter, target, profile, retrain, wrote):
    """Execute one chapter with papermill; return the executed notebook, or exit naming the cell that failed.

    `wrote` are the files it left when it was executed before: a chapter that reuses its weights still answers for them.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    # Read by the kernels only: progress bars belong on a terminal, not into a page.
    os.environ.update(TQDM_DISABLE="1", RETRAIN=retrain)
    partial = target.with_suffix(".partial.ipynb")
    parameters = {} if profile == "laptop" else {"profile": profile}
    begin, problem = time.time(), None
    try:
        papermill.execute_notebook(
            chapter,
            partial,
            parameters,
            kernel_name="python3",
            cwd=BOOK,
            progress_bar=sys.stderr.isatty(),
            extra_arguments=["--log-level=50"],
        )
    except papermill.PapermillExecutionError as error:
        problem = f"cell {error.cell_index + 1} (In [{error.exec_count}]): {error.ename}: {error.evalue}"
    except DeadKernelError:
        problem = "its kernel died, most often for lack of memory"
    except KeyboardInterrupt:
        problem = "stopped; the chapters before it are kept, and the next run goes on here"
    if problem:
        sys.exit(f"\n{chapter.relative_to(ROOT)}: {problem}\nAs far as it came: {partial}")

    notebook = tidy(nbformat.read(partial, as_version=4))
    notebook.metadata["cepkit"] = provenance() | {
        "profile": profile,
        "retrain": retrain,
        "seconds": round(time.time() - begin, 1),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "wrote": {
            path: digest
            for path, (digest, changed) in run_files(profile).items()
            if changed >= begin or wrote.get(path) == digest
        },
    }
    partial.unlink()
    return notebook


def run(profile, retrain, folder, force=False):
    """Execute all chapters in order into `folder`, keeping those whose key is unchanged; return the executed ones."""
    folder.mkdir(parents=True, exist_ok=True)
    todo, code, inherited, done = chapters(), outside(), {}, []
    for number, chapter in enumerate(todo, 1):
        print(f"[{number}/{len(todo)}] {chapter.stem:<24}", end=" ", flush=True)
        target = folder / chapter.name
        key = chapter_key(nbformat.read(chapter, as_version=4), code, profile, retrain, inherited)
        notebook = nbformat.read(target, as_version=4) if target.exists() else None
        record = notebook.metadata.get("cepkit", {}) if notebook else {}
        there = {path: digest for path, (digest, _) in run_files(profile).items()}
        kept = not force and record.get("key") == key and record["wrote"].items() <= there.items()
        if not kept:
            notebook = execute(chapter, target, profile, retrain, record.get("wrote", {}))
            record = notebook.metadata["cepkit"]
            record["key"] = key
            write(notebook, target)
        inherited |= record["wrote"]
        done.append(target)
        print(
            f"unchanged, kept ({record['seconds']:.0f} s on {record['finished'][:10]})"
            if kept
            else f"{record['seconds']:.0f} s",
            flush=True,
        )
        summary = {path.stem: dict(nbformat.read(path, as_version=4).metadata["cepkit"]) for path in done}
        (folder / "run.json").write_text(json.dumps(summary, indent=1, sort_keys=True))
    return done


def refresh(folder):
    """Execute with the kept weights at the laptop profile and write the outputs back into book/ (what nbval reads)."""
    for path in run("laptop", "0", folder):
        notebook = nbformat.read(path, as_version=4)
        if len(json.dumps(notebook.metadata.get("widgets", {}))) > WIDGET_STATE_LIMIT:
            print(f"{path.name}: widget state left out, it is over {WIDGET_STATE_LIMIT / 1e6:.0f} MB")
            del notebook.metadata["widgets"]
        record = notebook.metadata["cepkit"]
        notebook.metadata["cepkit"] = {name: record[name] for name in sorted(record) if name not in ("key", "wrote")}
        write(notebook, BOOK / path.name)
    print("book/*.ipynb hold the new outputs: look at `git diff --stat`, then commit.")


def glued_png(path, key):
    """The PNG that the notebook glued under `key`."""
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            if output.get("metadata", {}).get("scrapbook", {}).get("name") == key:
                png = output.data.get("application/papermill.record/image/png", output.data.get("image/png"))
                if png:
                    return base64.b64decode(png)
    sys.exit(f"{path.relative_to(ROOT)} glues no picture named {key!r}, which the preface shows.")


def status_table(notebooks):
    """A Markdown table of what was executed, when, how long it took and with what."""
    records = [(path.stem, nbformat.read(path, as_version=4).metadata.get("cepkit", {})) for path in notebooks]
    rows = ["| chapter | profile | run time | RETRAIN | executed (UTC) |", "|---|---|---|---|---|"]
    for name, record in records:
        seconds = f"{record['seconds']:.0f} s" if record else "not executed"
        rows.append(
            f"| {{doc}}`{name}` | {record.get('profile', '')} | {seconds} | {record.get('retrain', '')} "
            f"| {record.get('finished', '').replace('T', ' ')[:16]} |"
        )
    total = sum(record.get("seconds", 0) for _, record in records)
    rows.append(f"| **all** | | **{total / 60:.1f} min** | | |")
    last = records[-1][1]
    lines = ["", "Versions: " + ", ".join(f"{name} {version}" for name, version in last.get("versions", {}).items())]
    lines += ["", f"Machine: {last.get('machine', 'unknown')}"]
    lines += [
        "",
        "Data: "
        + (
            "; ".join(f"`{name}` {digest[:16]}" for name, digest in last.get("stores", {}).items())
            or "no store recorded"
        ),
    ]
    return "\n".join(rows + lines) + "\n"


def used_in(path, sources):
    """The chapters, by name, whose code uses a public name of a module or whose text shows its source.

    Parameters
    ----------
    path : Path
        The module.
    sources : dict of str to str
        Chapter -> its text and code.
    """
    module = (path.parent if path.stem == "__init__" else path).stem
    nodes = ast.parse(path.read_text()).body
    names = [n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")]
    if not names:
        return []
    room = path.parent.name  # its names may be used by that of the package
    uses = re.compile(rf"\b(?:{module}|{room}|cep)\.(?:{'|'.join(names)})\b|\.{module} import |/{module}\.py\b")
    return [chapter for chapter, text in sources.items() if uses.search(text)]


def module_list():
    """Markdown that makes Sphinx document every module of the library and say which chapters use it."""
    files = [path for path in sorted((ROOT / "cepkit").rglob("*.py")) if path.name != "__main__.py"]
    notebooks = {path.stem: nbformat.read(path, as_version=4) for path in chapters()}
    sources = {name: "\n".join(cell.source for cell in notebook.cells) for name, notebook in notebooks.items()}
    text = []
    for path in files:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if name == "cepkit":
            continue
        # A function that a package hands on may be called as its module is, which has an entry of its own.
        rooms = ", ".join(one.stem for one in path.parent.glob("[a-z]*.py")) if path.stem == "__init__" else ""
        links = ", ".join(f"{{doc}}`/book/{chapter}`" for chapter in used_in(path, sources))
        text.append(
            f"### {name}\n\n"
            + (f"Used in: {links}\n\n" if links else "")
            + f"```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n"
            + (f"   :exclude-members: {rooms}\n" if rooms else "")
            + "```\n"
        )
    return "\n".join(text)


def render(notebooks, build):
    """Build the pages from the executed notebooks in `notebooks` into `build`/html; warnings are errors."""
    executed = [notebooks / chapter.name for chapter in chapters()]
    missing = [path.name for path in executed if not path.exists()]
    if missing:
        sys.exit(f"{notebooks} holds no {', '.join(missing)}: execute the chapters first (python book/make.py run).")
    stage, output = build / "stage", build / "html"
    shutil.rmtree(stage, ignore_errors=True)
    shutil.copytree(BOOK, stage / "book", ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "*.py"))
    shutil.copytree(ROOT / "cepkit", stage / "cepkit", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("_static", "_ext"):
        shutil.copytree(ROOT / folder, stage / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path in executed + [ROOT / "_config.yml", ROOT / "_toc.yml"]:
        shutil.copy(path, stage / "book" if path.suffix == ".ipynb" else stage)
    generated = stage / "book" / "_generated"
    generated.mkdir()
    (generated / "status.md").write_text(status_table(executed))
    (generated / "modules.md").write_text(module_list())
    (generated / "headline.png").write_bytes(glued_png(notebooks / "12-comparison.ipynb", "headline-figure"))

    options = ["-W", "-n", "--keep-going", "-q", "--path-output", stage]
    if subprocess.run(
        [Path(sys.executable).with_name("jupyter-book"), "build", *options, stage], stdout=subprocess.DEVNULL
    ).returncode:  # it would name the stage as the place to look
        sys.exit(f"The pages were not built: see the warnings above (line numbers refer to {stage / 'book'}).")
    shutil.rmtree(output, ignore_errors=True)
    (stage / "_build" / "html").rename(output)
    shutil.rmtree(stage)
    # Made of the kept weights, and not in the stage: every page would load what lies in its _static.
    (output / "book" / live.SCRIPT).resolve().write_text(live.script(), encoding="utf-8")
    print(f"The book is built. Open {output / 'index.html'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "_build", help="folder for all results [_build]")
    profile = argparse.ArgumentParser(add_help=False)
    profile.add_argument(
        "--profile",
        default=os.environ.get("PROFILE") or "laptop",
        help="size of the run: smoke, laptop or paper (PROFILE)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run", parents=[profile], help="execute the chapters")
    command.add_argument(
        "--retrain",
        default=os.environ.get("RETRAIN") or "1",
        help="0: train nothing, 1: what the chapter trains, all: everything (RETRAIN)",
    )
    command.add_argument(
        "--force",
        action="store_true",
        default=bool(os.environ.get("FORCE")),
        help="execute also what has not changed (FORCE=1)",
    )
    command = commands.add_parser("render", parents=[profile], help="build the pages")
    command.add_argument("--notebooks", type=Path, help="folder of executed notebooks [_build/executed/PROFILE]")
    commands.add_parser("refresh", help="execute with the kept weights and write the outputs back into book/")
    args = parser.parse_args()

    for name, allowed in (("profile", ("smoke", "laptop", "paper")), ("retrain", ("0", "1", "all"))):
        if getattr(args, name, allowed[0]) not in allowed:
            parser.error(f"{name}: got {getattr(args, name)!r}, it may be {', '.join(allowed)}")
    build = args.build.resolve()
    if args.command == "run":
        run(args.profile, args.retrain, build / "executed" / args.profile, args.force)
    elif args.command == "render":
        render((args.notebooks or build / "executed" / args.profile).resolve(), build)
    else:
        refresh(build / "refreshed")


if __name__ == "__main__":
    main()
