"""Every message of the language, and the exceptions that carry them.

Each exception is a subclass of the nearest builtin, so ``except TypeError`` catches a
mismatch as a Python programmer expects. The texts stand together in one table: what was
expected, what came, what to do.
"""

import sys
from pathlib import Path


def made_at() -> str:
    """``file:line`` of the nearest caller outside of this package: where a part was made."""
    package = str(Path(__file__).parent)
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


class LamdaError(Exception):
    """The root of all errors of the language."""


class MismatchError(LamdaError, TypeError):
    """Two parts do not fit: refused when they are composed."""


class ImpureError(LamdaError, ValueError):
    """What was lifted is not a pure function."""


class OpenError(LamdaError, ValueError):
    """A term is open: its weights, or the type of its input, are not known."""


class SpecError(LamdaError, ValueError):
    """An argument does not have the form that was asked for."""


class StoreError(LamdaError, ValueError):
    """The store holds something other than it should."""


class MissingError(LamdaError, LookupError):
    """There is no such ref, address, blob or path."""


class SuccessionError(LamdaError, ValueError):
    """A version is not a successor of the one that a ref names."""


MISMATCH = """\
{left} does not compose with {right}:
  {left} gives {given}
      made at {left_at}
  {right} takes {wanted}
      made at {right_at}
{axes}
Put a part between them that turns one into the other, or change the type of one of them."""

AXIS = "  axis {axis}{where}: {given} is not {wanted}"
RANK = "  rank{where}: {given} has {given_rank} axes, {wanted} has {wanted_rank}"
DTYPE = "  dtype{where}: {given} is not {wanted}; lamda promotes no dtype silently"
STRUCTURE = "  structure{where}: {given} is not {wanted}"

INPUT_MISMATCH = """\
{name} takes {wanted}, and was given {given}:
{axes}"""

BRANCH_MISMATCH = """\
{left} and {right} do not branch from one input:
  {left} takes {given}
      made at {left_at}
  {right} takes {wanted}
      made at {right_at}
{axes}
All parts of a branch read the same input; give them one type, or pick their parts of it first."""

BAD_TYPE = (
    "{value!r} is no type: write 'float32[b, 384]', or give an array, a jax.ShapeDtypeStruct, "
    "or a tuple or dict of these"
)
BAD_NODE = (
    "{what} of {name} is a {kind}: lamda's values are arrays, tuples and dicts with string keys. "
    "Convert it inside the function."
)
BAD_PART = (
    "{what} takes models, and got {value!r}. Lift it first: lm.lift({short}) makes a model of "
    "a function or a Flax module."
)
NO_PARTS = "{what} takes at least one model"
MIXED_PARTS = (
    "branch takes models by position, or by name, not both: write branch(f, g) or branch(a=f, b=g)"
)
BAD_PATH = "{name} gives {type}, which has no {path!r}: pick one of {choices}"
NOT_A_TREE = "{name} gives {type}, which is one array: there is nothing to pick from"

SWITCH_INPUT = (
    "switch takes (index, x), a whole number or truth value and what to choose with it; "
    "it was given {given}"
)
SWITCH_OUTPUT = (
    "the choices of a switch must give one type: choice {number} gives {given}, and choice 0 gives "
    "{wanted}"
)
SCAN_INPUT = (
    "scan takes (state, xs), where every array of xs has one first axis, of steps; "
    "it was given {given}"
)
SCAN_OUTPUT = (
    "the body of a scan takes (state, x) and gives (state, y): the state is {wanted}, and the "
    "body gives {given}"
)
LOOP_OUTPUT = (
    "the body of an iteration must give the type that it takes: it takes {wanted}, and it gives "
    "{given}"
)
UNTIL_OUTPUT = "until= must give one truth value, bool[]; it gives {given}"
VMAP_INPUT = "vmap takes arrays with one first axis, which it maps over; it was given {given}"

OPEN_WEIGHTS = (
    "{name} is open: its weights are not there yet. Close it first: model.init(key) or "
    "model.init(key, input)."
)
OPEN_INPUT = (
    "the input type of {name} is not known. Say it when lifting, "
    "lm.lift(f, input='float32[b, 16]'), or compose it after a part that has a type."
)
TRACED = (
    "{name} is inside a JAX transformation, where its weights have no values: it has no {what} "
    "there. Ask for it outside of jit, grad and vmap."
)
WEIGHTS_TREE = (
    "the weights given do not fit {name}: at {path}, expected {wanted}, got {given}. "
    "Start from model.weights and change the leaves."
)
NOT_LIFTABLE = (
    "{value!r} can not be lifted: give a function of (x) or of (weights, x), or a Flax module"
)
NOT_CALLABLE = (
    "lift calls the function as f{given}, and this one is {takes}. Give weights= for a function of "
    "(weights, x), none for a function of (x); several inputs go into one tuple or dict."
)
FLAX_STATE = (
    "{name} keeps state beside its parameters ({extra}), so it is no pure function. Use it in "
    "inference form (running averages as parameters, dropout off), or lift a function of the parts."
)
BAD_WEIGHTS = (
    "the weights of {name} hold {value!r} at {path}: give arrays in dicts, tuples or lists"
)
IMPURE_EFFECT = (
    "{name} is not pure: it has the effect {effect}. A model may only compute; print, check or "
    "communicate outside of it.\n  made at {at}"
)
IMPURE_TRACE = (
    "{name} is not pure: traced twice, it gave two different programs, so it reads something that "
    "changes (a counter, a clock, a random number, a global). Pass what changes as an input.\n"
    "  made at {at}"
)
CAPTURED_UNTYPED = (
    "{name} captures an array of type {type}. Say the type of its input, lm.lift(f, input=...), "
    "and the array becomes one of its weights; or take it as an argument: "
    "f(weights, x).\n  made at {at}"
)
UNTRACEABLE = "{name} does not run on {type}: {error}\n  made at {at}"

BAD_SUCCESSOR = (
    "a successor has the types of its predecessor: {pred} is {wanted}, the new one is {given}"
)

NEED_SIZES = "{name} has free dimensions: {free}. Say the sizes to compile for, as in {example}."
UNKNOWN_SIZES = "{name} has no dimension {given!r}; its free dimensions are {free}"
BAD_SIZES = "sizes of {dim} are whole numbers from 1, as in {dim}=(1, 8, 32); got {given!r}"
NO_BATCH = (
    "{name} has no batch dimension: the first axis of every input would have to be one name, "
    "and they are {first}. Leave out batch=, or name the sizes of its dimensions."
)
UNKNOWN_TARGET = "target {given!r} is not known; targets are {known}"
NO_DEVICE = "there is no {target} here that JAX can use: {error}"
BAD_TEXT = (
    "tokenizer= needs an input of two leaves of integers [batch, length], called 'ids' and 'mask' "
    "(or one called 'ids'); {name} takes {type}"
)

FIT_DATA = "data is (inputs, targets), two trees of arrays with the same first axis; got {given}"
FIT_TYPES = "the {what} of the data are {given}, and {name} needs {wanted}"
FIT_FROZEN = "{name} has nothing to train: every weight is frozen, or it has none"
FIT_LOSS = "loss(prediction, target) must give one number; it gave {given}"
FIT_NAN = (
    "the loss is {value} at step {step}. Training stopped; nothing was returned. Lower the "
    "learning rate, clip the gradients (optax.clip_by_global_norm), or look at the data."
)
FIT_COUNT = "{what} is a whole number from 1, got {given!r}"

NO_STORE = "{path} is not a store: it has no oci-layout. Make one with lm.Store({path!r})."
NO_REF = "there is no {ref!r} in {path}; its refs are {refs}"
BAD_REF = (
    "{ref!r} is no name for a ref: letters, digits, '.', '_', '-' and '/', beginning with a "
    "letter or digit, no '..', at most 128 characters"
)
NOT_SUCCESSOR = (
    "{ref} is at {head}, and {new} is not its successor (its predecessor is {pred}). Put "
    "lm.succ(store.get({ref!r}), model), or use another ref."
)
BAD_BLOB = "blob {digest} of {path} is damaged: {why}. Fetch it again, or restore it from a copy."
NO_BLOB = "blob {digest} is not in {path}. Fetch it again, or restore it from a copy."
BAD_CONFIG = "{digest} is not a model that this lamda reads: {why}"

NEED_EXTRA = "{what} needs {package}: pip install 'lamda[{extra}]'"
