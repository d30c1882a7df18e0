"""Every program in the documentation runs, and prints what stands under it."""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
EVERY = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [p for p in EVERY if "```python" in p.read_text()]  # fmt: skip


def test_there_is_something_to_run():
    assert {p.name for p in PAGES} >= {"README.md", "tour.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_programs_print_what_stands_under_them(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope: dict = {"__name__": "__main__"}
    blocks = BLOCK.findall(page.read_text())
    for (language, code), (after, expected) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if language != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(page), "exec"), scope)
        if not after:
            assert printed.getvalue() == expected


def test_links_lead_somewhere():
    for page in EVERY:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_law_names_a_test_that_is_there():
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", (ROOT / "docs" / "laws.md").read_text())
    assert len(named) > 5
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(), f"{file}::{test}"
