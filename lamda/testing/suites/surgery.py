"""Surgery: a place in a model is a lens, and the model is its parts."""

from hypothesis import strategies as st

import lamda as lm
from lamda.model import Model
from lamda.rebuild import rebuild
from lamda.surgery.places import Place, get, places
from lamda.testing.draw import Draw
from lamda.testing.law import Suite, law
from lamda.testing.level import Level
from lamda.testing.observe import equal, state


def somewhere(draw: Draw, m: Model) -> tuple[Place, lm.Selection]:
    """A drawn place of a model, and what is selected there."""
    place = draw(st.sampled_from(list(places(m.term))), "place")
    return place, lm.Selection(m, (place,), "a place")


def typed(draw: Draw, m: Model, place: Place, label: str) -> Model:
    """A drawn model of the type of what stands at a place."""
    part = get(m, place)
    return draw.like(part, label) if part.input is not None else lm.named(part, label)


@law("select(m, p).set(*select(m, p).get()) = m", Level.TERM)
def set_what_was_got(draw: Draw):
    m = draw.model()
    _, selection = somewhere(draw, m)
    return selection.set(*selection.get()), m


@law("select(select(m, p).set(f), p).get() = [f]", Level.ADDRESS)
def get_what_was_set(draw: Draw):
    m = draw.model()
    place, selection = somewhere(draw, m)
    if get(m, place).input is None:
        return None
    f = typed(draw, m, place, "f")
    got = get(selection.set(f), place)
    return _at(m, place, got), _at(m, place, f)


@law("select(select(m, p).set(f), path of p).get() = [f], in a composition", Level.ADDRESS)
def what_is_set_is_found_by_the_same_path(draw: Draw):
    m = draw.model()
    m = m >> draw.after(m)
    place, selection = somewhere(draw, m)
    if not place.listed or get(m, place).input is None:
        return None
    f = typed(draw, m, place, "f")
    found, *others = [*lm.select(selection.set(f), selection.paths).get(), lm.identity]
    equal("how many are found", len(others), 1)
    return _at(m, place, found), _at(m, place, f)


@law("select(select(m, p).set(f), p).set(g) = select(m, p).set(g)", Level.TERM)
def set_again_forgets(draw: Draw):
    m = draw.model()
    place, selection = somewhere(draw, m)
    f, g = typed(draw, m, place, "f"), typed(draw, m, place, "g")
    once = selection.set(f)
    (moved,) = (p for p in places(once.term) if p.way == place.way)
    return lm.Selection(once, (moved,), "a place").set(g), selection.set(g)


@law("select(m, p).apply(identity of models) = m", Level.TERM)
def applying_nothing_changes_nothing(draw: Draw):
    m = draw.model()
    _, selection = somewhere(draw, m)
    return selection.apply(lambda part: part), m


@law("select(m, p).insert(before=identity, after=identity) = m", Level.ADDRESS)
def inserting_the_identity_changes_nothing(draw: Draw):
    m = draw.model()
    _, selection = somewhere(draw, m)
    return selection.insert(before=lm.identity, after=lm.identity), m


@law("select(f >> g >> h, g).remove() = f >> h, where g has the type of its input", Level.TERM)
def what_is_removed_is_gone(draw: Draw):
    f = draw.model()
    between = draw.term(f.output, f.output, "g")  # type: ignore[arg-type]
    h = draw.after(f, "h")
    m = lm.named(f, "f") >> lm.named(between, "g") >> lm.named(h, "h")
    return lm.select(m, "g").remove(), lm.named(f, "f") >> lm.named(h, "h")


@law("replace(f >> g >> h, {'g': k}) = f >> k >> h", Level.TERM)
def what_is_replaced_is_the_other(draw: Draw):
    f = draw.model()
    g = draw.after(f)
    h = draw.after(g, "h")
    k = lm.named(draw.like(g, "k"), "g")
    front, back = lm.named(f, "f"), lm.named(h, "h")
    return lm.replace(front >> lm.named(g, "g") >> back, {"g": k}), front >> k >> back


@law("select(f & g & f, '1').set(h) = f & h & f, and f is tied still", Level.TERM)
def ties_are_kept_by_surgery_elsewhere(draw: Draw):
    f = draw.model()
    g = draw.beside(f)
    h = draw.like(g, "h")
    return lm.select(lm.branch(f, g, f), "1").set(h), lm.branch(f, h, f)


@law("m[:i] >> m[i:] = m", Level.ADDRESS)
def what_is_split_and_composed_is_the_model(draw: Draw):
    m = draw.model()
    m = m >> draw.after(m)
    left, right = lm.split_at(m, _number(draw, m))
    return left >> right, m


@law("graft(m, identity, i) = m", Level.ADDRESS)
def grafting_the_identity_changes_nothing(draw: Draw):
    m = draw.model()
    m = m >> draw.after(m)
    return lm.graft(m, lm.identity, _number(draw, m)), m


@law("graft(f >> g, h, 'g') = f >> h >> g", Level.TERM)
def grafting_puts_a_part_between(draw: Draw):
    f = lm.named(draw.model(), "f")
    g = lm.named(draw.after(f), "g")
    h = draw.term(f.output, f.output, "h")  # type: ignore[arg-type]
    return lm.graft(f >> g, h, "g"), f >> h >> g


@law("surgery leaves its operands as they were", Level.TERM)
def surgery_leaves_its_operands_as_they_were(draw: Draw):
    m = draw.model()
    place, selection = somewhere(draw, m)
    f = typed(draw, m, place, "f")
    before = state(m), state(f)
    selection.set(f)
    selection.apply(lm.freeze)
    selection.insert(before=lm.identity)
    lm.graft(m, lm.identity, 0)
    equal("an operand has changed", (state(m), state(f)), before)


def _at(m: Model, place: Place, f: Model) -> Model:
    """A model at the type of what stands at a place: on its own it may take more."""
    return rebuild(lm.identity.term, {}, get(m, place).require_input()) >> f


def _number(draw: Draw, m: Model) -> int:
    return draw(st.integers(0, len(m)), "i")


SURGERY = Suite(
    "surgery",
    (
        set_what_was_got,
        get_what_was_set,
        what_is_set_is_found_by_the_same_path,
        set_again_forgets,
        applying_nothing_changes_nothing,
        inserting_the_identity_changes_nothing,
        what_is_removed_is_gone,
        what_is_replaced_is_the_other,
        ties_are_kept_by_surgery_elsewhere,
        what_is_split_and_composed_is_the_model,
        grafting_the_identity_changes_nothing,
        grafting_puts_a_part_between,
        surgery_leaves_its_operands_as_they_were,
    ),
)
