"""The library stays thin: lines, functions, import circles, private names across rooms."""

import importlib.util
from pathlib import Path

spec = importlib.util.spec_from_file_location("size", Path(__file__).parents[1] / "scripts" / "size.py")
size = importlib.util.module_from_spec(spec)
spec.loader.exec_module(size)


def test_the_library_keeps_its_budget():
    *_, faults = size.measure()
    assert not faults, "\n".join(faults)


def test_the_script_finds_what_it_looks_for(tmp_path):
    (tmp_path / "cepkit").mkdir()
    long = "def long():\n" + "    x = 1\n" * 61
    (tmp_path / "cepkit" / "a.py").write_text("from cepkit import b\nx = b._hidden\nfrom . import b\n")
    inside = "def f():\n    from cepkit import a\n    return a\n\n\n"
    (tmp_path / "cepkit" / "b.py").write_text(inside + long + "#\n" * 400)
    *_, faults = size.measure(tmp_path)
    imports = "b imports cepkit.a inside", "a imports . inside a function or relatively", "import circle"
    for fault in (*imports, "b._hidden, a private name", "lines, over 400", "long has 62"):
        assert any(fault in found for found in faults), fault
