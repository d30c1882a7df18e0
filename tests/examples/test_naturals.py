"""The numerals print what they are, and add as numbers do."""

from __future__ import annotations

import naturals
from naturals import ZERO, add, succ

import lamda as lm


def test_it_prints_the_numerals(capsys) -> None:
    naturals.main()
    assert capsys.readouterr().out == (
        "ZERO\nSUCC(SUCC(ZERO))\nSUCC(ZERO)\nSUCC(SUCC(SUCC(SUCC(SUCC(ZERO)))))\n"
    )


def test_a_number_answers() -> None:
    one = succ(ZERO)
    assert one("who") == lm.who(one) != lm.who(ZERO)
    assert one("pred") is ZERO and ZERO("pred") is None
    assert one("succ")(one.weights + 1).address == succ(one).address


def test_addition_is_of_numbers() -> None:
    one, two = succ(ZERO), succ(succ(ZERO))
    assert add(ZERO, two).address == add(two, ZERO).address == two.address
    assert add(one, two).address == add(two, one).address
    assert add(add(one, two), two).address == add(one, add(two, two)).address
    assert add(two, two)(1.0) == 5


def test_adding_leaves_the_numbers_as_they_were() -> None:
    two = succ(succ(ZERO))
    before = two.address
    add(two, two)
    assert two.address == before and naturals.show(two) == "SUCC(SUCC(ZERO))"
