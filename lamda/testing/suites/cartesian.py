"""Products: branches, projections, sharing, joins; and what must not be taken for the same."""

from hypothesis import strategies as st

import lamda as lm
from lamda import errors, types
from lamda.model import Model
from lamda.testing.draw import Draw
from lamda.testing.law import Suite, broken, law
from lamda.testing.level import Level
from lamda.testing.strategies.ill import mistaken
from lamda.testing.suites.category import CATEGORY, chain, identity_at

# --- projections ---


@law("branch(f, g) >> pick(0) = f, and branch(f, g) >> pick(1) = g", Level.ADDRESS)
def projections(draw: Draw):
    f, g, at = *beside(draw, 2), draw(st.integers(0, 1), "i")
    return (f & g) >> lm.pick(at), (f, g)[at]


@law('branch(a=f, b=g) >> pick("b") = g', Level.ADDRESS)
def projections_by_name(draw: Draw):
    f, g = beside(draw, 2)
    return lm.branch(a=f, b=g) >> lm.pick("b"), g


@law('branch(f, branch(a=g)) >> pick(1, "a") = g', Level.ADDRESS)
def nested_projections(draw: Draw):
    f, g = beside(draw, 2)
    return lm.branch(f, lm.branch(a=g)) >> lm.pick(1, "a"), g


@law("branch(f, g) >> branch(pick(0), pick(1)) = branch(f, g)", Level.ADDRESS)
def taking_apart_and_pairing(draw: Draw):
    f, g = beside(draw, 2)
    return (f & g) >> (lm.pick(0) & lm.pick(1)), f & g


@law("the program of branch(f, g) >> pick(0) is that of f: g does not run", Level.PROGRAM)
def what_is_not_asked_for_does_not_run(draw: Draw):
    f, g = beside(draw, 2)
    _require_program((f & g) >> lm.pick(0), f)


# --- sharing ---


@law("branch(f >> g, f >> h) = f >> branch(g, h)", Level.ADDRESS)
def sharing(draw: Draw):
    f, g = chain(draw, 2)
    h = draw.after(f, "h")
    return lm.branch(f >> g, f >> h), f >> lm.branch(g, h)


@law("f >> branch(identity, identity) = branch(f, f)", Level.ADDRESS)
def copying(draw: Draw):
    f = draw.model()
    return f >> lm.branch(lm.identity, lm.identity), f & f


@law("branch(f, f) runs f once, and branch(f >> g, f >> h) too", Level.PROGRAM)
def what_is_shared_runs_once(draw: Draw):
    f, g = chain(draw, 2)
    h = draw.after(f, "h")
    once, twice = len(f.program.nodes), len((f & f).program.nodes)
    if once != twice:
        raise broken(errors.SIDES.format(left=f"{once} steps", right=f"{twice} steps"))
    _require_program(lm.branch(f >> g, f >> h), f >> lm.branch(g, h))


@law("f >> const(v) = g >> const(v)", Level.ADDRESS)
def discarding(draw: Draw):
    f, g = beside(draw, 2)
    v = draw(st.integers(-8, 8), "v")
    return f >> lm.const(v), g >> lm.const(v)


# --- side by side ---


@law("(f @ g) >> (h @ k) = (f >> h) @ (g >> k)", Level.ADDRESS)
def interchange(draw: Draw):
    f, h = chain(draw, 2)
    g = draw.model()
    k = draw.after(g, "k")
    return (f @ g) >> (h @ k), (f >> h) @ (g >> k)


@law("branch(f, g) >> (h @ k) = branch(f >> h, g >> k)", Level.ADDRESS)
def branching_side_by_side(draw: Draw):
    f, g = beside(draw, 2)
    h, k = draw.after(f, "h"), draw.after(g, "k")
    return (f & g) >> (h @ k), (f >> h) & (g >> k)


@law("f @ g = first(f) >> second(g)", Level.ADDRESS)
def one_side_after_the_other(draw: Draw):
    f, g = draw.model(), draw.model("g")
    both = f @ g
    return both, identity_at(both.require_input()) >> lm.first(f) >> lm.second(g)


@law("branch(f, g) >> swap >> swap = branch(f, g)", Level.ADDRESS)
def swapping_twice(draw: Draw):
    f, g = beside(draw, 2)
    return (f & g) >> lm.swap >> lm.swap, f & g


@law("(f @ g) >> swap = swap >> (g @ f)", Level.ADDRESS)
def swapping_is_natural(draw: Draw):
    f, g = draw.model(), draw.model("g")
    both = f @ g
    return both >> lm.swap, identity_at(both.require_input()) >> lm.swap >> (g @ f)


# --- names ---


@law("branch(a=f, b=g, c=h) in any order of names", Level.ADDRESS)
def names_in_any_order(draw: Draw):
    parts = dict(zip("abc", beside(draw, 3), strict=True))
    order = draw(st.permutations(list(parts)), "order")
    return lm.branch(**parts), lm.branch(**{name: parts[name] for name in order})


@law("named(f, n) = f", Level.ADDRESS)
def names_of_parts_leave_no_trace(draw: Draw):
    f = draw.model()
    g = draw.after(f)
    return lm.named(f, "part") >> lm.named(g, draw(st.sampled_from(["f", "body"]), "n")), f >> g


@law("renaming dimensions changes nothing", Level.ADDRESS)
def names_of_dimensions_leave_no_trace(draw: Draw):
    f = draw.model()
    type = f.require_input()
    renamed = types.substitute(type, {n: f"renamed_{n}" for n in types.names(type)})
    return identity_at(renamed) >> f, f


# --- joins ---


@law("h >> add(f, g) = add(h >> f, h >> g), and so for every join", Level.ADDRESS)
def joins_share_what_comes_before(draw: Draw):
    h, f = chain(draw, 2)
    g = draw.like(f)
    join = draw(st.sampled_from([lm.add, lm.multiply, lm.stack]), "join")
    return h >> join(f, g), join(h >> f, h >> g)


@law("residual(f) = add(identity, f)", Level.ADDRESS)
def residual_is_a_sum(draw: Draw):
    f = endo(draw)
    return lm.residual(f), identity_at(f.require_input()) >> lm.add(lm.identity, f)


@law('ensemble([f, g], reduce="sum") = add(f, g)', Level.ADDRESS)
def a_sum_is_an_ensemble(draw: Draw):
    f = draw.model()
    g = draw.like(f)
    return lm.ensemble([f, g], reduce="sum"), lm.add(f, g)


# --- what is not the same ---


@law("branch(f, g) = branch(g, f) only where f = g", Level.ADDRESS)
def the_order_of_outputs_counts(draw: Draw):
    f, g = beside(draw, 2)
    _require_apart((f & g).address == (g & f).address, f.address == g.address, f & g, g & f)


@law("branch(a=f) = branch(b=f) for no f", Level.ADDRESS)
def the_names_of_outputs_count(draw: Draw):
    left, right = (lm.branch(**{name: draw.model()}) for name in "ab")
    _require_apart(left.address == right.address, False, left, right)


@law("what takes another type is another function, even if it gives one constant", Level.ADDRESS)
def every_part_of_a_type_counts(draw: Draw):
    left = draw.model().require_input()
    right = draw(mistaken(left), "another type").given
    one, other = (identity_at(type) >> lm.const(1) for type in (left, right))
    _require_apart(one.address == other.address, False, one, other)


def beside(draw: Draw, count: int) -> list[Model]:
    """Models that take one input; the first is of the subject."""
    f = draw.model()
    return [f, *(draw.beside(f, "ghk"[number]) for number in range(count - 1))]


def endo(draw: Draw) -> Model:
    """A model that gives the type it takes: of the subject, where it has one."""
    f = draw.model()
    type = f.require_input()
    return f if types.plain(type) == types.plain(f.output or ()) else draw.term(type, type, "f")


def _require_program(left: Model, right: Model) -> None:
    if left.program != right.program:
        raise broken(errors.SIDES.format(left=repr(left.program), right=repr(right.program)))


def _require_apart(same: bool, allowed: bool, left: Model, right: Model) -> None:
    if same != allowed:
        raise broken(errors.SIDES.format(left=repr(left), right=repr(right)))


CARTESIAN = Suite(
    "cartesian",
    (
        projections,
        projections_by_name,
        nested_projections,
        taking_apart_and_pairing,
        what_is_not_asked_for_does_not_run,
        sharing,
        copying,
        what_is_shared_runs_once,
        discarding,
        interchange,
        branching_side_by_side,
        one_side_after_the_other,
        swapping_twice,
        swapping_is_natural,
        names_in_any_order,
        names_of_parts_leave_no_trace,
        names_of_dimensions_leave_no_trace,
        joins_share_what_comes_before,
        residual_is_a_sum,
        a_sum_is_an_ensemble,
        the_order_of_outputs_counts,
        the_names_of_outputs_count,
        every_part_of_a_type_counts,
    ),
    (CATEGORY,),
)
