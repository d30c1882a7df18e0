"""Bugs put into the calculus, each with the law that finds it."""

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from mutant import Mutant

from lamda import address, evaluate, normal, purity, types
from lamda.kinds import Iterate, Remat, Scan, Switch, Until, Vmap
from lamda.model import Model
from lamda.term import IDENTITY, Branch, Compose, Named, Pick
from lamda.testing.suites import cartesian, category, closed, combinator, control, typing

Patch = pytest.MonkeyPatch


def room(name: str) -> Any:
    """A module of combinators, some of which are called as the function in them."""
    return sys.modules[f"lamda.combinators.{name}"]


# --- composition ---


def brackets_are_kept(patch: Patch) -> None:
    patch.setattr(room("compose"), "sequence", lambda *terms: Compose(terms))


def identity_is_a_part(patch: Patch) -> None:
    def sequence(*terms: Any) -> Any:
        return keep(*(Named("identity", t) if t == IDENTITY else t for t in terms))

    keep = room("compose").sequence
    patch.setattr(room("compose"), "identity", None)
    patch.setattr(room("compose"), "sequence", sequence)


def a_tuple_of_one_is_taken_apart(patch: Patch) -> None:
    run = evaluate.run

    def unpacking(*given: Any) -> Any:
        value = run(*given)
        return value[0] if isinstance(value, tuple) and len(value) == 1 else value

    patch.setattr(evaluate, "run", unpacking)


def an_operand_is_given_back(patch: Patch) -> None:
    models, operands = room("compose").models, []

    def remembering(what: str, values: Any) -> list[Model]:
        operands[:] = models(what, values)
        return list(operands)

    def grown(*given: Any, **more: Any) -> Model:
        made, first = Model(*given, **more), operands[0]
        alike = (first.input, first.output) == (made.input, made.output)
        return first if alike else made

    patch.setattr(room("compose"), "models", remembering)
    patch.setattr(room("compose"), "Model", grown)


# --- products ---


def branch_swaps(patch: Patch) -> None:
    patch.setattr(room("branch"), "Branch", lambda parts, names: Branch(parts[::-1], names))


def pick_takes_another(patch: Patch) -> None:
    other = {0: 1, 1: 0, "a": "b", "b": "a"}
    patch.setattr(room("pick"), "Pick", lambda key: Pick(other.get(key, key)))


def address_forgets_dtypes(patch: Patch) -> None:
    def canonical(type: Any) -> Any:
        return types.canonical(types.transform(lambda t: types.ArrayType("any", t.shape), type))

    patch.setattr(address, "types", SimpleNamespace(**{**vars(types), "canonical": canonical}))


def address_forgets_structure(patch: Patch) -> None:
    def canonical(type: Any) -> Any:
        return [types.plain(leaf) for _, leaf in types.leaves(type)]

    patch.setattr(address, "types", SimpleNamespace(**{**vars(types), "canonical": canonical}))


def address_forgets_the_order_of_outputs(patch: Patch) -> None:
    sha256 = address.sha256

    def sorting(value: Any) -> str:
        match value:
            case ["model", type, ["tuple", *outputs]]:
                return sha256(["model", type, ["tuple", *sorted(outputs, key=repr)]])
        return sha256(value)

    patch.setattr(address, "sha256", sorting)


def address_keeps_names_of_outputs_apart_by_place(patch: Patch) -> None:
    sha256 = address.sha256

    def nameless(value: Any) -> str:
        match value:
            case ["model", type, ["dict", *outputs]]:
                return sha256(["model", type, ["dict", *(wire for _, wire in outputs)]])
        return sha256(value)

    patch.setattr(address, "sha256", nameless)


def what_is_shared_is_made_again(patch: Patch) -> None:
    patch.setattr(normal, "cache", lambda same: lambda slot: object())


def what_is_not_asked_for_is_kept(patch: Patch) -> None:
    prune = normal._prune

    def keeping(input: Any, found: Any, output: Any, same: Any) -> Any:
        everything = [normal.wires(each.gives, i) for i, each in enumerate(found)]
        graph = prune(input, found, (output, everything), same)
        return normal.Graph(input, graph.nodes, graph.output[0], graph.slots)

    patch.setattr(normal, "_prune", keeping)


# --- abstraction ---


def a_variable_is_captured(patch: Patch) -> None:
    from lamda import abstraction

    tree = abstraction._Scope.tree

    def capturing(self: Any, value: Any) -> Any:
        return value._at if isinstance(value, abstraction.Symbol) else tree(self, value)

    def applied(model: Model, x: Any) -> Any:
        scopes = [symbol._scope for symbol in abstraction._symbols(x)]
        return scopes[0].apply(model, x) if scopes else None

    patch.setattr(abstraction._Scope, "tree", capturing)
    patch.setattr(abstraction, "applied", applied)


def partial_fixes_the_other_one(patch: Patch) -> None:
    pair = room("partial")._pair
    patch.setattr(room("partial"), "_pair", lambda value, left: pair(value, not left))


# --- control ---


def cond_takes_the_other(patch: Patch) -> None:
    choose = room("switch").choose

    def turned(what: str, index: Model, choices: Any) -> Model:
        return choose(what, index, choices[::-1] if what == "cond" else choices)

    patch.setattr(room("switch"), "choose", turned)


def switch_goes_round(patch: Patch) -> None:
    def run(self: Any, bodies: Any, x: Any) -> Any:
        return jax.lax.switch(jnp.asarray(x[0], jnp.int32) % len(bodies), list(bodies), x[1])

    patch.setattr(Switch, "run", run)


def scan_goes_backwards(patch: Patch) -> None:
    def run(self: Any, bodies: Any, x: Any) -> Any:
        return jax.lax.scan(lambda s, e: bodies[0]((s, e)), *x, reverse=True)

    patch.setattr(Scan, "run", run)


def iterate_goes_once_more(patch: Patch) -> None:
    run = Iterate.run
    patch.setattr(Iterate, "run", lambda self, bodies, x: run(Iterate(self.count + 1), bodies, x))


def until_asks_after_the_body(patch: Patch) -> None:
    run = Until.run
    patch.setattr(Until, "run", lambda self, bodies, x: run(self, bodies, bodies[0](x)))


def vmap_stacks_along_the_last_axis(patch: Patch) -> None:
    patch.setattr(Vmap, "run", lambda self, bodies, x: jax.vmap(bodies[0], out_axes=-1)(x))


def remat_leaves_a_trace(patch: Patch) -> None:
    patch.setattr(Remat, "transparent", False)


# --- types and purity ---


def a_mismatch_is_noticed_when_calling(patch: Patch) -> None:
    patch.setattr(room("compose"), "_types", lambda input, output, f, g: (input, g.output))


def types_of_outputs_are_turned(patch: Patch) -> None:
    infer = room("branch")._types

    def turned(*given: Any) -> Any:
        input, output = infer(*given)
        return input, output[::-1] if isinstance(output, tuple) else output

    patch.setattr(room("branch"), "_types", turned)


def purity_is_not_looked_at(patch: Patch) -> None:
    def trace(call: Callable[..., Any], *structs: Any, **_: Any) -> purity.Trace:
        return purity.Trace(jax.eval_shape(call, *structs), {})

    patch.setattr(purity, "trace", trace)


def writes_are_not_looked_at(patch: Patch) -> None:
    patch.setattr(purity.Outside, "written", lambda self: [])


MUTANTS: list[Mutant] = [
    Mutant("brackets are kept", category.composing_is_associative, brackets_are_kept),
    Mutant("brackets are kept in long ones", category.regrouping_leaves_no_trace,
           brackets_are_kept),
    Mutant("identity is a part", category.identity_after, identity_is_a_part),
    Mutant("a tuple of one is taken apart", category.identity_gives_what_it_is_given,
           a_tuple_of_one_is_taken_apart),
    Mutant("composing gives an operand back", category.composing_keeps_its_operands,
           an_operand_is_given_back),
    Mutant("branch swaps what it gives", cartesian.projections, branch_swaps),
    Mutant("pick takes another", cartesian.projections_by_name, pick_takes_another),
    Mutant("the address forgets dtypes", cartesian.every_part_of_a_type_counts,
           address_forgets_dtypes),
    Mutant("the address forgets structure", cartesian.every_part_of_a_type_counts,
           address_forgets_structure),
    Mutant("the address forgets the order of outputs", cartesian.the_order_of_outputs_counts,
           address_forgets_the_order_of_outputs),
    Mutant("the address forgets the names of outputs", cartesian.the_names_of_outputs_count,
           address_keeps_names_of_outputs_apart_by_place),
    Mutant("what is shared is made again", cartesian.what_is_shared_runs_once,
           what_is_shared_is_made_again),
    Mutant("what is not asked for runs", cartesian.what_is_not_asked_for_does_not_run,
           what_is_not_asked_for_is_kept),
    Mutant("a variable is captured", closed.models_are_closed, a_variable_is_captured),
    Mutant("partial fixes the other component", closed.fixing_is_pairing_with_a_constant,
           partial_fixes_the_other_one),
    Mutant("cond takes the other branch", control.cond_means_if, cond_takes_the_other),
    Mutant("switch goes round instead of clamping", control.switch_means_choosing,
           switch_goes_round),
    Mutant("scan goes backwards", control.scan_means_one_after_the_other, scan_goes_backwards),
    Mutant("iterate goes once more", control.iterate_means_again_and_again,
           iterate_goes_once_more),
    Mutant("until asks after the body", control.until_means_the_first_that_holds,
           until_asks_after_the_body),
    Mutant("vmap stacks along the last axis", control.vmap_means_each,
           vmap_stacks_along_the_last_axis),
    Mutant("remat leaves a trace", control.remat_leaves_no_trace, remat_leaves_a_trace),
    Mutant("a mismatch is noticed when calling", typing.a_mismatch_is_refused_when_composing,
           a_mismatch_is_noticed_when_calling),
    Mutant("types of outputs are turned", typing.inferred_types_are_those_of_values,
           types_of_outputs_are_turned),
    Mutant("purity is not looked at", typing.an_impure_function_is_refused,
           purity_is_not_looked_at),
    Mutant("writes are not looked at", typing.an_impure_function_is_refused,
           writes_are_not_looked_at),
    Mutant("spellings are told apart", combinator.a_combinator_respects_equality,
           remat_leaves_a_trace),
]  # fmt: skip
