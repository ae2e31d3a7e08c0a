"""The notebooks in git are executed, clean and complete, so that nbval and the pages have something to compare."""

import configparser
import re
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PATH_OF_A_MACHINE = re.compile(r"/(?:home|root|Users|tmp|work)/\S*|site-packages")
TOC = [entry["file"] for part in yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"] for entry in part["chapters"]]
CHAPTERS = [ROOT / f"{file}.ipynb" for file in TOC if file.removeprefix("book/")[:2].isdigit()]


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request):
    assert request.param.exists(), "_toc.yml lists it"
    return nbformat.read(request.param, as_version=4)


def code(chapter):
    return [cell for cell in chapter.cells if cell.cell_type == "code" and cell.source.strip()]


def test_every_page_is_listed_and_every_listed_page_is_there():
    pages = {
        path.relative_to(ROOT).with_suffix("").as_posix()
        for kind in ("ipynb", "md")
        for path in (ROOT / "book").glob(f"*.{kind}")
    }
    assert pages == {*TOC, "book/preface"}


def test_it_was_executed_from_top_to_bottom_with_the_kept_weights(chapter):
    nbformat.validate(chapter)
    assert [cell.execution_count for cell in code(chapter)] == list(range(1, len(code(chapter)) + 1))
    record = chapter.metadata.get("cepkit", {})
    assert (record.get("profile"), record.get("retrain")) == ("laptop", "0"), "use `make refresh`"


def test_it_holds_printed_results_that_nbval_compares(chapter):
    compared = [
        output
        for cell in code(chapter)
        if "nbval-ignore-output" not in cell.metadata.get("tags", [])
        for output in cell.outputs
        if output.get("name") == "stdout" or "text/plain" in output.get("data", {})
    ]
    assert compared


def test_no_cell_failed_or_complained(chapter):
    for cell in code(chapter):
        kinds = {output.get("name", output.output_type) for output in cell.outputs}
        assert not kinds & {"error", "stderr"}, cell.source


def test_every_picture_has_alt_text(chapter):
    for cell in code(chapter):
        if any(mime.startswith("image/") for output in cell.outputs for mime in output.get("data", {})):
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt.split()) >= 5, f"metadata mystnb.image.alt says {alt!r} of\n{cell.source}"


def test_the_parameters_cell_holds_the_profile_and_nothing_else(chapter):
    tagged = [cell for cell in chapter.cells if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == code(chapter)[:1]
    assert tagged[0].source.strip() == 'profile = "laptop"'


EXERCISE = re.compile(
    r"^```\{exercise\}[^\n]*\n:label: (?P<label>\S+)\n\n\*\*(?P<grade>Warm-up|Core|Project)\.\*\* .+?\n```\n"
    r"\n```\{admonition\} Hint\n:class: tip dropdown\n.+?\n```$",
    re.S | re.M,
)


def text(chapter):
    return "\n\n".join(cell.source for cell in chapter.cells if cell.cell_type == "markdown")


def test_it_says_what_it_is_for_and_what_it_costs(chapter):
    words = text(chapter)
    assert re.search(r"\{admonition\} What you will learn\n:class: tip\n- ", words)
    assert re.search(r"^Prerequisites: ", words, re.M) and re.search(r"^Cost: \{glue:text\}`cost-", words, re.M)
    (minutes,) = re.findall(r"^Time: about (\d+) minutes to read\.", words, re.M)
    # Two hundred words a minute, and three quarters of one for each cell of code with what it shows.
    read = chapter.cells[: next(k for k, cell in enumerate(chapter.cells) if "## Exercises" in cell.source)]
    prose = sum(len(cell.source.split()) for cell in read if cell.cell_type == "markdown")
    assert abs(prose / 200 + 0.75 * sum(cell.cell_type == "code" for cell in read) - int(minutes)) < 6


FOLDED = {"hide-input", "remove-cell", "remove-input"}


def test_it_can_be_read_in_an_evening(chapter):
    """Eighty columns; exercises apart, 250 lines of visible code and 2500 words at most."""
    wide = [line for cell in code(chapter) for line in cell.source.splitlines() if len(line) > 80]
    assert not wide
    read = chapter.cells[: next(k for k, cell in enumerate(chapter.cells) if "## Exercises" in cell.source)]
    seen = [cell for cell in read if cell.cell_type == "code" and not FOLDED & set(cell.metadata.get("tags", []))]
    assert sum(bool(line.strip()) for cell in seen for line in cell.source.splitlines()) <= 250
    assert sum(len(cell.source.split()) for cell in read if cell.cell_type == "markdown") <= 2500


def test_its_exercises_are_graded_and_have_a_hint_and_a_solution_behind_a_click(chapter):
    words = text(chapter)
    exercises = list(EXERCISE.finditer(words))
    assert len(exercises) == words.count("{exercise}") >= 3, "label, grade or hint is missing"
    assert {exercise["grade"] for exercise in exercises} == {"Warm-up", "Core", "Project"}
    for exercise in exercises:
        solution = rf"^(`{{3,}})\{{solution(-start)?\}} {exercise['label']}\n:class: dropdown\n"
        assert re.search(solution, words, re.M), f"no solution of {exercise['label']}"
    assert words.count("{solution-start}") == words.count("{solution-end}")


def test_most_chapters_let_an_answer_be_checked():
    with_checks = [path.stem for path in CHAPTERS if "cep.check." in path.read_text()]
    assert len(with_checks) > 0.75 * len(CHAPTERS)


def test_no_word_stands_where_a_text_was_to_be_filled_in(chapter):
    assert not re.search(r"^[A-Z][A-Z_ -]{3,}$", text(chapter), re.M)


def test_the_page_of_sources_names_tests_that_exist():
    named = re.findall(r"`(test_\w+)`", (ROOT / "book" / "sources.md").read_text())
    tests = "\n".join(path.read_text() for path in (ROOT / "tests" / "bench").glob("*.py"))
    assert len(named) > 8 and all(f"def {name}(" in tests for name in named)


def test_outputs_name_no_place_on_the_machine_that_made_them(chapter):
    for cell in code(chapter):
        texts = [output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in cell.outputs]
        assert not PATH_OF_A_MACHINE.search("".join(texts)), cell.source


def test_the_sanitiser_replaces_times_and_addresses_only():
    rules = configparser.ConfigParser(interpolation=None)
    rules.read(ROOT / "tests" / "book" / "sanitize.cfg")

    def sanitise(text):
        for name in rules.sections():
            text = re.sub(rules[name]["regex"], rules[name]["replace"], text)
        return text

    assert sanitise("training took 12.3 s") == "training took TIME"
    assert sanitise("<Axes at 0x7f3a2b4c5d6e>") == "<Axes at ADDRESS>"
    for kept in ("200x200 nodes", "APD90 281.3 ms", "mean error 1.5 ms", "0x10", "12 s of pacing"):
        assert sanitise(kept) == kept
