"""The tables of docs/laws.md: made of the suites and of the mutants.

python tests/testing/laws_page.py --write
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from mutants import MUTANTS

from lamda.testing import Suite
from lamda.testing.suites import SUITES

PAGE = Path(__file__).parents[2] / "docs" / "laws.md"


def page() -> str:
    """The page with its tables made anew, what stands around them as it is."""
    text = PAGE.read_text()
    for name, rows in (("suites", suites()), ("mutants", mutants())):
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, rest = text.split(start)
        _, after = rest.split(end)
        text = before + start + "\n".join(rows) + "\n" + end + after
    return text


def suites() -> Iterator[str]:
    for name, suite in SUITES.items():
        parents = "".join(f", after {parent.name}" for parent in suite.parents)
        yield from (f"\n### {name}{parents}\n", said(suite), "")
        yield from ("| law | says | level | tier |", "|---|---|---|---|")
        for law in suite.laws:
            says = law.statement.replace("|", "\\|").replace("](", "]\\(")
            yield f"| {law} | {says} | {law.level.value} | {law.tier.value} |"


def said(suite: Suite) -> str:
    """The first paragraph of what the suite's module says of itself."""
    text = sys.modules[suite.laws[0].decide.__module__].__doc__ or ""
    return " ".join(text.strip().split("\n\n")[0].split())


def mutants() -> Iterator[str]:
    yield from ("| mutant | killed by |", "|---|---|")
    suite_of = {law: name for name, suite in SUITES.items() for law in suite.laws}
    for mutant in MUTANTS:
        yield f"| {mutant.name} | {suite_of[mutant.law]}: {mutant.law} |"


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        raise SystemExit("usage: python tests/testing/laws_page.py --write")
    PAGE.write_text(page())
