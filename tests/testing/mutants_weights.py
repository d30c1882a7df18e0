"""Mutants of weights, freezing, surgery and versions: each a bug that one law must find."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import pytest
from mutant import Mutant

import lamda as lm
from lamda import close, evaluate, model, pytree, term
from lamda.model import Model
from lamda.normal import Graph
from lamda.term import Branch, Compose, Lift, Slot, Term, Token
from lamda.testing.suites import freeze, surgery, versions, weights

Monkey = pytest.MonkeyPatch

# Functions of the same names hide these modules.
compose = sys.modules["lamda.combinators.compose"]
places = sys.modules["lamda.surgery.places"]
select = sys.modules["lamda.surgery.select"]


# --- brackets ---


def brackets_stay(left: bool) -> Callable[[Monkey], None]:
    """A composition keeps the brackets of its first part, or of the others."""

    def sequence(*terms: Term) -> Term:
        parts: list[Term] = []
        for place, each in enumerate(terms):
            flat = isinstance(each, Compose) and (not each.parts or (place > 0) is left)
            parts += each.parts if flat else (each,)  # type: ignore[attr-defined]
        return parts[0] if len(parts) == 1 else Compose(tuple(parts))

    return lambda monkey: monkey.setattr(compose, "sequence", sequence)


def keys_count_parts(monkey: Monkey) -> None:
    def closed(m: Model, key: jax.Array, input: Any = None) -> Model:
        return original(m, jax.random.fold_in(key, len(m)), input)

    original = close.close
    monkey.setattr(close, "close", closed)


def masks_count_parts(monkey: Monkey) -> None:
    def call(self: Model, x: Any, key: jax.Array | None = None) -> Any:
        if key is not None:
            key = jax.random.fold_in(key, term.written(self.term))
        return original(self, x, key)

    original = Model.__call__
    monkey.setattr(Model, "__call__", call)


# --- ties ---


def fresh_keeps_the_tie(monkey: Monkey) -> None:
    monkey.setattr(lm, "fresh", lambda f: f.derive(f.term, dict(f.environment)))


def ties_end_with_training(monkey: Monkey) -> None:
    def bind(self: Model, bound: Any, **kinds: Any) -> Model:
        made = original(self, bound, **kinds)
        if not isinstance(made.term, Branch):
            return made
        parts, environment = [], dict(made.environment)
        for part in made.term.parts:
            moved = {slot: Slot(Token(), slot.frozen) for slot in term.slots(part)}
            environment |= {new: made.environment[old] for old, new in moved.items()}
            parts.append(term.rename(part, lambda slot, moved=moved: moved[slot]))
        return made.derive(Branch(tuple(parts), made.term.names), environment)

    original = Model.bind
    monkey.setattr(Model, "bind", bind)


def equal_parts_are_merged(monkey: Monkey) -> None:
    def identity(self: Model, slot: Slot) -> Any:
        return slot.token if self.environment[slot].traced else self._content(slot)

    monkey.setattr(Model, "_identity", identity)


def frozen_parts_are_not_merged(monkey: Monkey) -> None:
    monkey.setattr(Model, "_identity", lambda self, slot: slot.token)


class _Once(list[Any]):
    """Weights whose gradient is that of their first use."""

    def __init__(self, weights: Any) -> None:
        super().__init__(weights)
        self.used: set[int] = set()

    def __getitem__(self, at: Any) -> Any:
        value = super().__getitem__(at)
        again = isinstance(at, int) and at in self.used
        self.used |= {at} if isinstance(at, int) else set()
        return jax.lax.stop_gradient(value) if again else value


def gradients_of_the_first_use(monkey: Monkey) -> None:
    def run(graph: Graph, weights: Any, x: Any, key: Any = None) -> Any:
        return original(graph, _Once(weights), x, key)

    original = evaluate.run
    monkey.setattr(evaluate, "run", run)


def weights_in_order_of_place(monkey: Monkey) -> None:
    def place(self: Model, tree: Any) -> Any:
        leaves = iter(jax.tree.leaves(tree))
        return {slot: _filled(self.environment[slot], slot, leaves) for slot in self.slots}

    monkey.setattr(Model, "place", place)


def _filled(bound: model.Weights, slot: Slot, leaves: Iterator[Any]) -> model.Weights:
    """Weights whose trained tensors are the next leaves."""
    put = (t.put(next(leaves)) if t.floating and not slot.frozen else t for t in bound.tensors)
    return model.Weights(bound.structure, tuple(put))


# --- freezing ---


def freezing_in_place(monkey: Monkey) -> None:
    def frozen(f: Model, what: Any = None) -> Model:
        made = original(f, what)
        object.__setattr__(f, "term", made.term)
        object.__setattr__(f, "environment", made.environment)
        f._memo.clear()
        return made

    original = lm.freeze
    monkey.setattr(lm, "freeze", frozen)


def gradients_are_stopped(monkey: Monkey) -> None:
    monkey.setattr(lm, "freeze", lambda f, what=None: _reading(f, jax.lax.stop_gradient))


def gradients_are_zeroed(monkey: Monkey) -> None:
    @jax.custom_vjp
    def zeroed(weights: Any) -> Any:
        return weights

    zeroed.defvjp(lambda w: (w, None), lambda _, d: (jax.tree.map(lambda a: a * 0, d),))
    monkey.setattr(lm, "freeze", lambda f, what=None: _reading(f, zeroed))


def _reading(f: Model, change: Callable[[Any], Any]) -> Model:
    """The model whose functions read their weights through another."""

    def changed(part: Term) -> Term | None:
        if not isinstance(part, Lift) or part.slot is None:
            return None
        made = lm.function.Function.__new__(lm.function.Function)
        for name in lm.function.Function.__slots__:
            setattr(made, name, getattr(part.function, name))
        call = part.function.call
        made.call = lambda weights, x: call(change(weights), x)
        made._identity = change, part.function._identity
        return Lift(made, part.slot)

    return f.derive(term.rewrite(f.term, changed), f.environment)


def training_moves_what_is_frozen(monkey: Monkey) -> None:
    def place(self: Model, tree: Any) -> Any:
        return {
            slot: model._placed(old, model._at(tree, path) if not slot.frozen else _rounded(old))
            for slot, path in self.slots.items()
            for old in (self.environment[slot],)
        }

    monkey.setattr(Model, "place", place)


def _rounded(old: model.Weights) -> Any:
    return jax.tree.map(lambda a: a * a.dtype.type(0.5) if a.dtype.kind == "f" else a, old.arrays)


def all_is_frozen(monkey: Monkey) -> None:
    original = lm.freeze
    monkey.setattr(lm, "freeze", lambda f, what=None: original(f))


# --- surgery ---


def the_rest_is_dropped(monkey: Monkey) -> None:
    def edited(m: Model, edits: Any) -> list[Model]:
        return original(m, edits)[: max(way[0] for way in edits) + 1]

    original = places._in_composition
    monkey.setattr(places, "_in_composition", edited)


def set_at_another_place(monkey: Monkey) -> None:
    def put(m: Model, edits: Any) -> Model:
        children = len(places.children(m.term))
        return original(m, {(children - 1 - w[0], *w[1:]) if w else w: e for w, e in edits.items()})

    original = select.put
    monkey.setattr(select, "put", put)


def old_parts_stay(monkey: Monkey) -> None:
    def put(m: Model, edits: Any) -> Model:
        kept = {w: e._replace(new=(select.get(m, _place(m, w)), *e.new)) for w, e in edits.items()}
        return original(m, kept)

    def _place(m: Model, way: tuple[int, ...]) -> Any:
        return next(p for p in places.places(m.term) if p.way == way)

    original = select.put
    monkey.setattr(select, "put", put)


def surgery_unties(monkey: Monkey) -> None:
    original = places._bare
    monkey.setattr(places, "_bare", lambda part: lm.fresh(original(part)))


def names_of_what_is_set_are_new(monkey: Monkey) -> None:
    monkey.setattr(select, "_called", lambda place, new: new)


def slices_overlap(monkey: Monkey) -> None:
    def split(m: Model, at: int) -> tuple[Model, Model]:
        return m[: at + 1], m[at:]

    monkey.setattr(lm, "split_at", split)


# --- versions ---


def the_program_knows_its_weights(monkey: Monkey) -> None:
    original = Graph._key
    monkey.setattr(Graph, "_key", lambda self: (original(self), self.slots))


def the_frame_knows_its_weights(monkey: Monkey) -> None:
    def key(self: Any) -> Any:
        return self.model.address

    monkey.setattr(pytree._Frame, "key", key)


def pred_is_lost(monkey: Monkey) -> None:
    monkey.setattr(lm, "succ", lambda m, w: m.replace_weights(w))


def pred_is_the_first(monkey: Monkey) -> None:
    def succ(m: Model, w: Any) -> Model:
        made = original(m, w)
        return made.derive(made.term, made.environment, pred=lm.pred(m) or m)

    original = lm.succ
    monkey.setattr(lm, "succ", succ)
    monkey.setattr(sys.modules["lamda.testing.strategies.lineage"], "succ", succ)


def weights_are_written_over(monkey: Monkey) -> None:
    def with_weights(self: Model, tree: Any) -> Model:
        object.__setattr__(self, "environment", self.place(tree))
        return self.derive(self.term, self.environment)

    monkey.setattr(Model, "with_weights", with_weights)


def addresses_are_kept(monkey: Monkey) -> None:
    def succ(m: Model, w: Any) -> Model:
        made = original(m, w)
        made._memo["address"] = m.address
        return made

    original = lm.succ
    monkey.setattr(lm, "succ", succ)


MUTANTS = [
    Mutant(
        "a composition keeps the brackets of its first part, so names have them",
        weights.names_do_not_depend_on_brackets,
        brackets_stay(left=True),
    ),
    Mutant(
        "a composition keeps the brackets of its last parts, so keys are folded with them",
        weights.initial_weights_do_not_depend_on_brackets,
        brackets_stay(left=False),
    ),
    Mutant(
        "initial weights depend on how many parts there are",
        weights.initial_weights_do_not_depend_on_what_follows,
        keys_count_parts,
    ),
    Mutant(
        "masks of dropout depend on how many parts a model is written with",
        weights.masks_do_not_depend_on_the_spelling,
        masks_count_parts,
    ),
    Mutant(
        "fresh keeps the tie",
        weights.what_is_fresh_is_trained_apart,
        fresh_keeps_the_tie,
    ),
    Mutant(
        "ties between the members of a branch are lost in a successor",
        weights.tied_parts_stay_tied_when_trained,
        ties_end_with_training,
    ),
    Mutant(
        "trained parts of equal numbers are one in the program",
        weights.parts_made_separately_are_two_however_equal,
        equal_parts_are_merged,
    ),
    Mutant(
        "the gradient of a tied part is that of its first use",
        weights.the_gradient_of_a_tied_part_is_the_sum_over_its_uses,
        gradients_of_the_first_use,
    ),
    Mutant(
        "weights are put back in the order of JAX's trees, not by path",
        weights.weights_go_back_where_they_came_from,
        weights_in_order_of_place,
    ),
    Mutant(
        "frozen parts of equal content are two in the program",
        freeze.frozen_parts_of_equal_content_are_one,
        frozen_parts_are_not_merged,
    ),
    Mutant(
        "freezing in one model freezes the part itself",
        freeze.freezing_in_one_model_changes_no_other,
        freezing_in_place,
    ),
    Mutant(
        "the gradient of a frozen weight is computed, and then zeroed",
        freeze.no_gradient_of_what_is_frozen_is_computed,
        gradients_are_zeroed,
    ),
    Mutant(
        "frozen weights are leaves, whose gradient is zero",
        freeze.frozen_weights_are_absent,
        gradients_are_stopped,
    ),
    Mutant(
        "weight decay reaches what is frozen",
        freeze.training_leaves_what_is_frozen,
        training_moves_what_is_frozen,
    ),
    Mutant(
        "freezing a part freezes all",
        freeze.freezing_a_part_freezes_no_other,
        all_is_frozen,
    ),
    Mutant(
        "setting a part drops what comes after it",
        surgery.set_what_was_got,
        the_rest_is_dropped,
    ),
    Mutant(
        "setting a part puts it at another place",
        surgery.get_what_was_set,
        set_at_another_place,
    ),
    Mutant(
        "setting a part keeps the old one before it",
        surgery.set_again_forgets,
        old_parts_stay,
    ),
    Mutant(
        "surgery unties the parts that it does not touch",
        surgery.ties_are_kept_by_surgery_elsewhere,
        surgery_unties,
    ),
    Mutant(
        "what is set has its own name, so paths change",
        surgery.what_is_set_is_found_by_the_same_path,
        names_of_what_is_set_are_new,
    ),
    Mutant(
        "both halves of a split model have the part in the middle",
        surgery.what_is_split_and_composed_is_the_model,
        slices_overlap,
    ),
    Mutant(
        "the key of a program holds its weights, so a successor compiles again",
        versions.a_successor_has_the_program_of_its_predecessor,
        the_program_knows_its_weights,
    ),
    Mutant(
        "the same, where it is run",
        versions.a_successor_compiles_nothing,
        the_program_knows_its_weights,
    ),
    Mutant(
        "the structure of the pytree holds the address, so jit traces a successor again",
        versions.a_successor_has_the_program_of_its_predecessor,
        the_frame_knows_its_weights,
    ),
    Mutant(
        "a successor does not know its predecessor",
        versions.the_predecessor_of_the_successor_is_the_model,
        pred_is_lost,
    ),
    Mutant(
        "a successor knows the first version only",
        versions.a_lineage_goes_back_to_its_first_version,
        pred_is_the_first,
    ),
    Mutant(
        "a successor writes over the weights of its predecessor",
        versions.a_successor_leaves_its_predecessor_as_it_was,
        weights_are_written_over,
    ),
    Mutant(
        "a successor remembers the address of its predecessor as its own",
        versions.other_weights_are_another_address,
        addresses_are_kept,
    ),
]
