"""Every message of the language, and the exceptions that carry them.

Each exception is a subclass of the nearest builtin, so ``except TypeError`` catches a
mismatch as a Python programmer expects. The texts stand together in one table: what was
expected, what came, what to do.
"""

import sys
from pathlib import Path
from typing import Any


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


class DiskError(LamdaError, OSError):
    """The disk does not take what is to be kept."""


class RemoteError(LamdaError, ConnectionError):
    """A remote does not answer."""


class SuccessionError(LamdaError, ValueError):
    """A version is not a successor of the one that a ref names."""


class DivergedError(LamdaError, FloatingPointError):
    """A loss was not finite: training stopped, and the last good weights are here."""

    def __init__(self, text: str, *, step: int, batch: str, weights: Any) -> None:
        super().__init__(text)
        self.step = step
        """The step whose loss it was, from 1."""
        self.batch = batch
        """The address of the examples of that step."""
        self.weights = weights
        """The last weights whose loss was finite."""
        self.model: Any = None
        """The successor with those weights."""


class MachineError(LamdaError, RuntimeError):
    """A machine that trains with others failed, or found something else than they."""


class LawError(LamdaError, AssertionError):
    """A law does not hold."""


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
STRUCTURE = "  structure{where}: {given}, is not {wanted}"
MISSING_KEYS = "  structure{where}: {given} missing"
EXTRA_KEYS = "  structure{where}: {given} not asked for"
GIVEN_BY = "  {name} gives {given}\n      made at {at}"

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
    "{what} takes models by position, or by name, not both: write {what}(f, g) or {what}(a=f, b=g)"
)
BAD_PATH = "{name} gives {type}, which has no {path!r}: pick one of {choices}"
NOT_A_TREE = "{name} gives {type}, which is one array: there is nothing to pick from"

NO_PLACE = "{name} has {count} parts, counted from 0: there is no part {given}"
NO_PART = "{name} has no part {given!r}; its parts are {choices}"
SLICE_STEP = "a slice of a model takes every part from one to another: its step is 1, not {step}"
SET_COUNT = "{places} places are selected, and {given} models are given: give one, or one for each"
NOTHING_SELECTED = "nothing in {name} is {what}; its paths are {paths}"
OVERLAP = "{a} and {b} are one inside of the other: replace one, and then the other"
BAD_SELECTION = (
    "{what!r} selects nothing: give a path ('encoder/*/head'), several paths, a signature "
    "('float32[b, 8] -> ?'), a function or a Flax class that was lifted, a model, or where="
)

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
ITERATE_ARGUMENTS = (
    "iterate takes how often, or until when, and not both: write iterate(f, n=3) or "
    "iterate(f, until=p)"
)
BAD_COUNT = "{what} takes a whole number of times from 0, and got {given!r}"
UNTIL_OUTPUT = "until= must give one truth value, bool[]; it gives {given}"
VMAP_INPUT = "vmap takes arrays with one first axis, which it maps over; it was given {given}"

QUANTIZE_BITS = "quantize takes 8 bits or 4, got {given!r}"
QUANTIZE_FINITE = (
    "the weights of {name} are not all finite, so they have no scale: find where they became nan "
    "or infinite, and quantise an earlier version"
)
LORA_RANK = "the rank of lora is a whole number from 1, got {given!r}"
LORA_NOTHING = (
    "lora found nothing to adapt in {name}: it has no floating weights of two or three "
    "dimensions, or where= chose none of them"
)
CAST_DTYPE = (
    "cast takes a floating dtype that JAX has here, as jnp.bfloat16 or 'float16' (float64 only "
    "with jax_enable_x64); got {given!r}"
)
CAST_FIXED = (
    "{name} can not be cast to {dtype}, for a part of it does not run in that. A program that was "
    "read from a store has the dtypes it was stored with: cast before putting it there, or use "
    "lm.quantize, which makes the weights smaller and leaves the program as it is.\n{error}"
)

JOIN_MISMATCH = (
    "{what} joins what is of one type, and nothing is broadcast or promoted: {left} gives "
    "{wanted}, and {right} gives {given}. Reshape or cast one of them first."
)
JOIN_AXIS = "{what} along axis {axis}: {type} has no such axis"
BAD_REDUCE = (
    "reduce= is 'mean', 'sum' or 'max', or a function of the tuple of what the members give; "
    "got {given!r}"
)
MIXTURE_ROUTER = (
    "a mixture of {count} experts needs a router that gives [..., {count}], and experts that begin "
    "with the same axes and have its dtype: the router gives {scores}, and an expert {result}"
)
BAD_CONST = "{value!r} is no constant: give an array, a number, or a tuple or dict of these"
BAD_NAME = "{given!r} is no name for a part: give a text that is not empty and has no '/'"
NO_TAP = "{name} has no part at {path!r} to tap: its paths are {choices}"
BAD_COMPONENT = "{name} takes {type}, which has no component {at!r} to fix"

FN_NOT_A_FUNCTION = (
    "fn makes a model of a Python function that applies models, and got {value!r}: write "
    "lm.fn(lambda x: g(f(x))), and lift what is JAX: lm.lift(f)"
)
FN_PARAMETERS = (
    "a model takes one thing: {name} may have one parameter, or several by position (a tuple of "
    "inputs), or several by keyword only (a dict of them); no * or **, and at least one without a "
    "default"
)
FN_CONTROL = (
    "{name} decides, compares or loops on a symbol, whose value is not known while a model is made "
    "of it. Choose with lm.cond or lm.switch, loop with lm.scan or lm.iterate, compare inside of a "
    "lifted function, and take a tuple apart by x[0], x[1]."
)
FN_INDEX = (
    "{name} picks {key!r} from a symbol: pick one part of a tuple or dict by its number or name. "
    "Elements of an array are taken inside of a lifted function."
)
FN_LIFT_FIRST = (
    "{name} computes with a symbol: {error}\nOnly models, picking, + - * / @ and unary - work on "
    "symbols. Lift the function first: lm.lift(jnp.sin)(x) for jnp.sin(x)."
)
FN_MIXED = (
    "a symbol of {outer} is used inside of {inner}, which is a model of its own, and a model is "
    "closed. Make it an argument of {inner}, or leave {inner} a plain Python function."
)
FN_LEAKED = (
    "a symbol of {name} is used after {name} was made: symbols live while their function is "
    "called. Return what you need from it."
)
FN_VALUE = (
    "{name} uses {value!r}, which is not built from symbols or arrays: apply models to the "
    "arguments, and return these, or tuples and dicts of them"
)
FN_UNUSED = (
    "{name} does not read {argument}, so nothing says its type. Say it, lm.fn(f, input=...) or "
    "{argument}: 'float32[b, 16]' in the signature, or leave {argument} out."
)

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
BAD_EXPORTED = (
    "these {count} bytes are no exported program: {error}. Give what jax.export made, "
    "jax.export.export(jax.jit(f))(x), or its serialize()."
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
IMPURE_WRITE = (
    "{name} is not pure: it writes to {variables}, outside of it. Return what changes, and take it "
    "as an input.\n  the function is at {line}\n  made at {at}"
)
CAPTURED_RANDOM = (
    "{name} captures an array and takes a key. Give the array as weights: "
    "f(weights, x, key=None).\n"
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
NO_TARGET_PLUGIN = (
    "the target {target} needs a PJRT plugin for {platform}: install lamda[{platform}], or set "
    "LAMDA_PJRT_PLUGIN to the path of one. But for {platform}:native the device need not be here."
)
NO_TUNING = "the target {target} can not be tuned here: {reason}"
UNKNOWN_PLATFORM = "platform {given!r} is not known; those with a limit are {known}"
TOO_LARGE = (
    "the deployed function would have {total:,} bytes, {excess:,} more than the {most:,} that "
    "{platform} takes: runtime {runtime:,}, plugin {plugin:,}, model {model:,}. Compile fewer "
    "sizes or targets, share or quantise weights, or choose a platform that takes more. Nothing "
    "was written."
)
BEYOND_LIMIT = (
    "{what} {given:,} {unit}, {excess:,} more than the {most:,} that {platform} takes. {cure} "
    "Nothing was written."
)
BELOW_LIMIT = (
    "{what} {given:,} {unit}, {lack:,} less than the {least:,} that {platform} begins at. {cure} "
    "Nothing was written."
)
UNKNOWN_DEPLOYMENT = "platform {given!r} is not known; lamda deploys to {known}"
INTO_BUNDLE = (
    "{path} is the bundle itself: expected another directory to write the deployment to. "
    "Nothing was written."
)
NO_CONTAINER = "{platform} has no container=True: it is deployed in one way"
NO_CPU_PLUGIN = (
    "the deployed function needs the PJRT plugin for the CPU, and there is none here: install "
    "lamda[pjrt-cpu], set LAMDA_PJRT_PLUGIN to the path of one, or bundle with plugin=True"
)
NOT_INSTALLED = (
    "the deployed function needs {package}, pinned to what is installed here, and it is not "
    "installed: install lamda[{extra}]"
)
NO_DEVICE = "there is no {target} here that JAX can use: {error}"
BAD_TEXT = (
    "tokenizer= needs an input of two leaves of integers [batch, length], called 'ids' and 'mask' "
    "(or one called 'ids'); {name} takes {type}"
)
BAD_IMAGE = (
    "image= needs an input that is one array of pictures, such as float32[b, 224, 224, 3]; "
    "of {name}: {reason}"
)
UNKNOWN_IMAGE = "image= takes {known}; got {given!r}"

FIT_DATA = "data is (inputs, targets), two trees of arrays with the same first axis; got {given}"
FIT_FROZEN = "{name} has nothing to train: every weight is frozen, or it has none"
FIT_LOSS = (
    "loss(prediction, target) must give one number, or some for each example; of {prediction} and "
    "{target} it gave {given}. See that predictions and targets have the shapes that you think."
)
FIT_LOSS_FAILED = (
    "loss(prediction, target) does not take a prediction {prediction} and a target {target}: "
    "{error}"
)
FIT_NAN = (
    "the loss is {value} at step {step}, whose examples are {batch}. Training stopped; the last "
    "model whose loss was finite is .model of this error. Lower the learning rate, clip the "
    "gradients (optax.clip_by_global_norm), or look at the data."
)
FIT_LENGTH = "give steps=, or epochs=, and not both; got steps={steps!r} and epochs={epochs!r}"
FIT_OTHER_STREAM = (
    "the first {step} batches are not those that the checkpoint was made from: give the same data"
    " again, or another directory as checkpoint="
)
FIT_PATIENCE = "patience= stops by the loss on held-out data: give eval=(inputs, targets)"
FIT_ACCUMULATE = "a batch of {batch} has no {accumulate} parts of one size: accumulate= divides it"
FIT_DEVICES = "a batch of {batch} has no equal part for each of {devices} devices"
FIT_NO_DEVICES = "devices={given} are wanted, and there are {here} here"
FIT_DTYPE = (
    "the model does not run in {dtype}: {error}. Programs that were read from a store run in the "
    "dtypes that they were stored in; get them with trust_source=True, or leave dtype= out."
)
FIT_COMPUTED = "dtype= is bfloat16, float32 or float64, what a step is computed in; got {given!r}"
FIT_CHECKPOINT = "{path} is no checkpoint of this run: {error}. Remove it to begin anew."
NOT_TRAINED = (
    "{ref} has no receipt with the programs that it was trained by: it was put as it is, or by an "
    "older lamda. What lm.fit gives has them."
)
TRAINED_TOGETHER = (
    "{ref} was trained by lm.search, in one program with others: the same search again gives the "
    "same address, and lm.fit of its candidate alone gives it to within rounding"
)
NO_TRAINED_FROM = "{ref} was trained from {model}, which is not the version before it"
NO_TRAINED_ON = (
    "{ref} was trained on the data {data}, which is not in this store: put it by store.put_data or "
    "lamda data add, or give data="
)
OTHER_DATA = "{ref} was trained on the data {wanted}, and given is {found}"
OF_STREAM = (
    "{model} was trained on a stream, of which nothing was kept: what is to be trained again is "
    "trained on arrays or a data set"
)
FEW_EXAMPLES = "a step takes {batch} examples, and there are {count}"
LITTLE_DATA = (
    "there are {train} examples to fit to and {held} held out: expected at least {batch}, the batch"
    " of a step, and 1. Add more data, or choose another share as holdout="
)
BAD_HOLDOUT = "holdout= is the share that is held out, between 0 and 1; got {given!r}"
FIT_FOUND = "found {address} in the store, trained before; force=True trains again"
FIT_COUNT = "{what} is a whole number from 1, got {given!r}"

SEARCH_FACTORY = (
    "optimizer= is a function of the settings of grid=, such as optax.adam, or without a grid an "
    "optimiser; got {given}"
)
SEARCH_GRID = (
    "grid= has values to try for each setting of the optimiser, or is a list of settings, and is "
    "not empty, such as {{'learning_rate': [1e-3, 1e-2]}}; got {given!r}"
)
SEARCH_VALUES = "grid= has a list of values for {name}, such as [1e-3, 1e-2]; got {given!r}"
SEARCH_SETTING = "{name}({taken}) does not take the settings {given}: {error}"
SEARCH_MADE = "{name} makes no optimiser with init and update; it made {given}"
SEARCH_UNHASHABLE = (
    "the setting {name} is neither a number nor a value that can be compared: {given!r}. A tuple "
    "can be, in place of a list"
)
SEARCH_INPUT = """\
candidates of a search are trained on the same data, and these take other inputs:
  {left} takes {given}
      made at {left_at}
  {right} takes {wanted}
      made at {right_at}
{axes}
Search over each by itself, or compose a part before one of them that turns its input into the \
other's."""
SEARCH_EVAL = "metric= is taken on held-out data: give eval=(inputs, targets)"
SEARCH_METRIC = "metric= is a function of predictions and targets, or one of {known}; got {given!r}"
METRIC = (
    "metric(prediction, target) must give one number for each of {count} examples, or one; it gave "
    "{given}"
)
ACCURACY = (
    "accuracy is of logits with one axis more than labels, which are whole numbers; got "
    "{prediction} and {label}"
)
SEARCH_DIVERGED = (
    "each of the {count} that were trained diverged, the first at step {step}; .rows has the last "
    "model of each whose loss was finite. Lower the learning rates, or look at the data."
)
SEARCH_FOUND = "found {count} in the store, trained before; force=True trains again"
SEARCH_STATIC = (
    "the optimiser must know {names} to be made, so each value is a program of its own, which "
    "takes longer"
)

MERGE_NO_BASE = (
    "{name} and what is merged into it have no common predecessor: their lineages go back to "
    "{firsts}. Say the version that they were made from: merge(..., base=...)."
)
MERGE_STRUCTURE = """\
{other} can not be merged into {name}: they are not one but for their weights:
{differences}
Merge versions of one structure, with the names of its parts."""
MERGE_FIXED = (
    "{name} does not train what these lineages have different: {paths}. Merging adds changes of "
    "trained weights alone: merge into a model that trains these, or keep them as they were."
)
MERGE_SCALE = "scale is one finite number, or {count}, one for each that is merged; got {given!r}"
MERGE_FINITE = (
    "the sum of the changes of {path} is not finite. Lower the scale, or look at the weights: "
    "lm.diff tells how far each lineage moved."
)

RATES = (
    "rates are patterns of paths, each with a finite number from 0, as in {{'encoder/**': 0.1}}; "
    "got {given!r}"
)
RATES_NOTHING = "{pattern!r} matches no weight that is trained; their paths are {paths}"

DISTIL_INPUT = """\
teacher and student read the same inputs:
  {left} takes {given}
      made at {left_at}
  {right} takes {wanted}
      made at {right_at}
{axes}
Put a part before one of them that turns one into the other."""
DISTIL_OUTPUT = (
    "the loss of soft targets is of logits, one array of one type with the classes along its last "
    "axis: {teacher} gives {given}, and {student} gives {wanted}. Say loss=, a function of what "
    "the student gives and of what the teacher gives."
)
DISTIL_ROWS = "{teacher} must give a row for each example, and for {count} it gives {given}"
DISTIL_DATA = (
    "data is what teacher and student take, {wanted}, with an example in each row; it is "
    "(inputs, labels) where alpha= says that labels count. Got {given}"
)
DISTIL_PAIR = "with alpha= above 0 data is (inputs, labels), or a data set; got {given}"
DISTIL_NUMBER = "{what} is a number {range}, got {given!r}"
DISTIL_TEMPERATURE = "temperature= is of the default loss: leave it out where loss= is given"
DISTIL_LABELS = "label_loss= is of labels: say their share of the loss, alpha= above 0"

NO_STORE = "{path} is not a store: it has no oci-layout. Make one with lm.Store({path!r})."
NO_REF = "there is no {ref!r} in {path}; its refs are {refs}"
BAD_REF = (
    "{ref!r} is no name for a ref: letters, digits, '.', '_', '-' and '/', beginning with a "
    "letter or digit, no '..', at most 128 characters"
)
REF_INSIDE = (
    "{ref!r} can not stand beside {other!r}, for a ref is no folder of refs: use another name, "
    "such as {ref!r} with '-' for '/'"
)
NOT_SUCCESSOR = (
    "{ref} is at {head}, and {new} is not its successor (its predecessor is {pred}). Put "
    "lm.succ(store.get({ref!r}), model), or use another ref."
)
BAD_REF_FILE = (
    "{path} is no ref: it holds {text!r}, and not the digest of a manifest. Write that digest into "
    "it again, or remove the file; the versions themselves are not touched by this."
)
BAD_DIGEST = "{digest!r} is no digest: sha256: and 64 hexadecimal digits"
OTHER_BYTES = "bytes that should have the digest {digest} have {found}: nothing was kept"
NOT_PICKLED = (
    "the source of {name}, made at {at}, can not be kept: {error}. Put without source=True: the "
    "program of the function is kept in any case."
)
NOT_RESTORED = (
    "the source that is kept does not load: {error}. Get it without trust_source=True: its program "
    "needs no source."
)
OTHER_SOURCE = (
    "the source that is kept of {name} is not the function whose program is kept; it has the "
    "digest {digest}. Get it without trust_source=True, and find out who wrote this."
)
TRUSTED_SOURCE = (
    "running the Python source that {path} keeps with {address}: whoever wrote it can do here what "
    "you can do"
)
NOT_NOTED = (
    "who trusts the source that {path} keeps is noted in its trusted.log, which can not be "
    "written: {error}. Make it writable, or copy the store."
)
RANDOM_PROGRAM = (
    "{name} draws with a key, and what is stored of it is its reading without one. Call it without "
    "a key, or put it with source=True and get it with trust_source=True."
)
KEY_EXISTS = "{path} is there already, and a key is never overwritten: give another name"
NO_PRIVATE_KEY = "the key {path} can not be read: {error}. lamda keygen NAME writes NAME.key."
NOT_PRIVATE = (
    "{path} should be an ed25519 private key in PEM form, found {found}. lamda keygen NAME writes "
    "one, NAME.key."
)
BAD_SIGNATURES = (
    "blob {digest} is no manifest of signatures: {error}. Remove the file in signatures/ that "
    "names it, and sign again, or pull again."
)
OTHER_STATED = (
    "the signature of {what} states the address {stated}, and it has {found}: whoever signed it "
    "made a mistake. Do not use it, and ask them."
)
NO_SAFETENSORS = (
    "weights of {dtype} have no form in a safetensors file, so they have no address: cast them to "
    "one of {known}, or look at lm.quantize"
)
BAD_REMOTE = (
    "{url!r} is no remote: write oci://host[:port]/repository[:tag] for a registry, the repository "
    "in lower case, with ?insecure at the end for HTTP; or s3://bucket/prefix[#ref], "
    "gs://bucket/prefix, az://account/container/prefix, https://host/prefix or file:///directory"
)
NO_ROOM = (
    "{path} needs {size:,} bytes more, and there are {free:,} on its disk: nothing of them was "
    "fetched. Make room, or pull into a store on another disk."
)
NOT_ALLOWED = (
    "{path}: {error}. Who asks may not do that: look at the keys in the environment, and at what "
    "they are allowed."
)
URL_SECRET = (
    "the URL at {host} has a name or a password in it, which would be shown and logged: leave it "
    "out, and keep keys in the environment"
)
REMOTE_GC = (
    "{url} is kept elsewhere, where nobody can wait for other writers, so nothing is collected "
    "there. To be rid of old versions push the refs that are to stay to another prefix, and remove "
    "this one by the vendor's tools. What was fetched is in {cache}, which may be removed at any "
    "time."
)
OTHER_SIGNATURES = (
    "{url} keeps signatures of {version} that another tool wrote, where those of lamda would be: "
    "they stay, and yours were not sent. Push to another repository, or remove these first."
)
BAD_TAG = (
    "no tag of a registry can stand for the ref {ref!r}: with '..' for each '/' it has at most 128 "
    "characters, and it does not look like the tag of a version, v-0123456789ab. Use another ref."
)
PUSH_NAME = (
    "{ref!r} is pushed to {url} under which name? Give a ref of the store, or a tag at the end of "
    "the URL, as in {url}:head"
)
PULL_NAME = "what is pulled from {url}? Give a tag at the end of the URL, as in {url}:head"
BAD_DEPTH = "depth is how many versions are sent at most, from 1, got {given!r}"
NO_REMOTE_REF = "there is no {ref!r} at {url}. Push it first, or look at the tags that are there."
NO_REMOTE_BLOB = "blob {digest} is not at {url}. Push the version again, from a store that has it."
REMOTE_CUT = (
    "{url} has {count} versions of this lineage, and not {digest}, which is before them: they were "
    "pushed with a depth, or what was before them was removed. Push the whole lineage there again."
)
REMOTE_ELSEWHERE = (
    "{ref} of {url} is at {head}, which is not before {new}: someone else has pushed. Pull it, put "
    "a successor of it, and push that; or push to another tag."
)
REMOTE_MOVED = (
    "{ref} of {url} was moved to {head} while {new} was sent: it stays there. Pull it, put a "
    "successor of it, and push that; or push to another tag."
)
REMOTE_SILENT = (
    "{url} can not be reached, or breaks off: {error}. Nothing is lost; do it again, and what has "
    "arrived is not sent again."
)
REMOTE_LOGIN = (
    "{url} wants a login, or has refused the one for {host}. docker login {host} keeps one in "
    "~/.docker/config.json (or in $DOCKER_CONFIG), where it is looked for."
)
BAD_LOGIN = (
    "what {path} says of the login at {host} can not be read ({why}). Log in again: docker login "
    "{host}"
)
NO_LOGIN_HELPER = (
    "the login at {host} is kept by the program {program}, which does not run ({why}). Install it, "
    "or log in again without it."
)
REMOTE_REFUSED = "{url} answered {status} to {what}{said}. Nothing was kept; nothing here changed."
REMOTE_WRONG = "{url} does what no registry should: {why}. Nothing of that was kept."
NOT_A_MODEL = "{digest} at {url} is no model of lamda: {why}. Nothing of it was kept."
NOT_AFTER = (
    "{ref} is at {head}, and {new} does not come after it. Pull with another ref, and put a "
    "successor of either."
)
NO_EXTRA = "this needs {package}: pip install 'lamda[{extra}]'"
BAD_BLOB = "blob {digest} of {path} is damaged: {why}. Fetch it again, or restore it from a copy."
NO_BLOB = "blob {digest} is not in {path}. Fetch it again, or restore it from a copy."
QUARANTINED = (
    "blob {digest} was damaged: it is in quarantine/ of {path} now, and these need it: {needed}. "
    "Put one of them again, fetch it again, or restore it from a copy."
)
BLOB_LINK = (
    "{path} is no file but a link or a folder: a store is all in one place. Put the file itself "
    "there, or remove it, and put the model again."
)
BAD_CONFIG = (
    "blob {digest} is not a model that this lamda reads: {why}. Put the model again, or restore "
    "the ref that names it."
)
BAD_MANIFEST = (
    "blob {digest} is no manifest of a model: {why}. Put the model again, or restore the ref that "
    "names it."
)
BLOB_UNREAD = (
    "{path} can not be read: {error}. Whether it is damaged is not known; make it readable, or "
    "look at the disk, and verify again."
)
NO_BLOB_NAME = "{path} is no blob, for its name is no digest: move it elsewhere"
OTHER_SIZE = "blob {digest} has {found:,} bytes, and a manifest says {size:,}: fetch it again"
OTHER_MEANING = (
    "{manifest} says that it is {said}, and its program and tensors are {found}: whoever wrote it "
    "made a mistake. Do not use it."
)
OTHER_PRED = (
    "{who} says that the version before it, {manifest}, is {said}, and it is {found}: whoever "
    "wrote this made a mistake. Use another version."
)
OTHER_ADDRESS = (
    "{path} says that {manifest} is {said}, and it is {found}. Remove the file; lamda verify "
    "makes it again as it should be."
)
BAD_LAYOUT = (
    "{path} does not say that this is a store that this lamda reads: it holds {text!r}, and "
    "should hold {wanted!r}. Use a newer lamda if a newer one made it, else write that into it."
)
FOREIGN = (
    "{path} is no store and not empty: it has {name!r}. Give a new directory, or the one of a store"
)
NOT_WRITTEN = (
    "{path} does not take what is to be kept: {error}. Nothing that was kept before has changed, "
    "and this is not kept. Make room, or make it writable, and do it again."
)
BAD_GRACE = "grace is a number of seconds from 0, got {given!r}"
BAD_SHARE = "share is what part of the blobs is hashed, above 0 and up to 1, got {given!r}"
BAD_OBJECTS = (
    "{url!r} is no URL of a remote with objects ({known}): write s3://bucket/prefix, "
    "gs://bucket/prefix, az://account/container/prefix, https://host/prefix or file:///directory"
)
REF_MOVED = (
    "{ref} of {url} is at {head}, and not at {expected}: it was moved meanwhile, and stays where "
    "it is. Pull it, put a successor of it, and push that."
)
NO_FILE = "there is no {path}: give the path of a file that is there"
TOO_MUCH = (
    "what was read is nested too deeply, or too large, for this machine ({error}). Look at where "
    "it comes from: nothing of ours is."
)
OF_SYSTEM = "{path}: {error}. Check the path, and that you may read and write there."
NO_FORMAT = "{path} is of no format that is known by its name: {known}, or an Orbax directory"
BAD_FILE = "{path} is no {format} file that can be read: {why}"
SAME_PATH = (
    "two tensors of {name} have the path {path}, and a file has one for each: a key of its weights "
    "holds a '/'. Lift it with another key."
)
NO_TREE = "{path} goes through the path of another tensor, so there is no tree: use .safetensors"
NOT_EXPORTED = "{path} was not written: {why}. Use another path or format; nothing was changed."
TWO_NAMES = "{path}: {name!r} and {other!r} are for one place. Say which, with rename=."
OPEN_STRICT = (
    "{name} is open, so all of its weights must come from {path}: leave out strict=False, or close "
    "it first with model.init(key)"
)
NOT_IMPORTED = """\
{path} does not fit {model}, and nothing was changed:{lines}
Say other names with rename={{'theirs': 'ours'}}, cast or reshape first, or take what fits with \
strict=False."""
NO_LAYOUT = (
    "{path} is no OCI layout: it has no index.json. Give the directory of one; weights go into a "
    "version, with --into REF or import_weights"
)
NO_LAYOUT_REFS = (
    "the index.json of {path} names no version: give each a name that a ref can have, as "
    "skopeo copy SOURCE oci:{path}:NAME does"
)
ONLY_IMPORT = "{path} is a layout of another tool and is only read: make a store with lm.Store"
ONE_WRITER = (
    "{url} does not compare before it moves a ref, so it is for one writer at a time: of two that "
    "move a ref at the same moment both are told that they did, and one is lost from the ref"
)
ONLY_READ = (
    "{url} is only read: plain HTTP has no way to move a ref. Write to where it comes from, as "
    "s3://bucket/prefix or file:///directory."
)
NO_OBJECT = "there is no {path}"
NO_ANSWER = "{path}: {error}. Nothing is lost; try again, and what has arrived is not sent again."
TOO_LONG = "{path} has {size:,} bytes, too many for what it should be: it was not read"
BAD_INDEX = "{path} is no index of an OCI layout: {error}. Make the layout again with its own tool."

LAW_BROKEN = """\
the law "{name}" is broken:
  {statement}
at the level of {level}. {why}"""
LAW_WHERE = 'in the law "{name}": {statement}'
SIDES = "One side is\n  {left}\nand the other\n  {right}"
APART = "At {path} they are {ulps:.3g} units in the last place apart, and {allowed} are allowed."
UNREACHABLE = (
    "no term goes from {input} to {output}: a named dimension of the output must be one of the "
    "input. Name the dimension in the input, or write a number in the output"
)
OPERAND_CHANGED = "operand {place} has changed: its {what} was\n  {before}\nand is\n  {after}"
OPERAND_RETURNED = "what was made is operand {place} itself: {name}"
NOT_REFUSED = "{what} was not refused"
NOT_SAID = "the message was\n  {error}\nand does not say\n  {text}"
BAD_SUBJECT = (
    "laws are checked of a model, a combinator, or a strategy of models, and not of {value!r}"
)
CHECK_MODULE = (
    "{what!r}: there is no module {module!r}, here or among what is installed. Say MODULE:NAME "
    "with a dot for each folder and without .py, as in models.text:encoder"
)
CHECK_NAME = "module {module!r} has no {name!r}; the models and strategies in it are {choices}"
CHECK_SUITE = "there is no suite {given!r}; the suites are {known}"
NO_TESTING = (
    "laws are checked with Hypothesis and pytest, and {name} is not installed: "
    "pip install 'lamda[testing]'"
)

RECOMPILED = (
    "nothing was to be compiled here, and XLA compiled {names}. New weights of one structure "
    "compile nothing; another structure, type or size does, and so does a function that is made "
    "anew. Run it once before, and look at lm.diff of the two models."
)
GOLDEN_MISSING = """\
there is no golden address of {name!r} in {file}.
Run pytest --lamda-write-golden, look at what it wrote, and commit the file."""
GOLDEN_CHANGED = """\
the address of {name!r} has changed, from {wanted} to {given}.
An address never changes meaning, so this is another function: its program, a weight, a constant \
or a type has changed. If this is meant, run pytest --lamda-write-golden, and commit {file}."""
GOLDEN_VERSION = """\
the hashing version of lamda is {version}, and {file} was written with {at}: every address has \
changed. Run pytest --lamda-write-golden, and commit the file."""

DATA_ROWS = (
    "a data set takes inputs and targets, trees of arrays with one first axis and a row at least, "
    "and was given {given}. What is a list of numbers is an array by numpy.asarray"
)
DATA_RANGE = (
    "{given} is kept as {wanted} here, and has a number that is too large for it: make it smaller, "
    "or set jax_enable_x64"
)
DATA_OTHER_ROWS = (
    "rows of a data set have one type: these are {given}, and those before are {wanted}. Convert "
    "them, pad or cut what is longer, or make another data set of them"
)
DATA_TAKE = "rows are whole numbers from 0 to below {count:,}, or a slice, and not {given!r:.200}"
DATA_RECORDS = "records are named by their SHA-256, each of 64 hexadecimal digits"
NOT_DATA = "{given} is no data set: lm.DataSet.of(inputs, targets) makes one"
OTHER_KIND = {
    "model": "{ref} is a data set, and a model is wanted here: store.data({ref!r}) gives its rows",
    "data": "{ref} is a model, and a data set is wanted here: store.get({ref!r}) gives it",
}
DATA_NOT_SUCCESSOR = (
    "{ref} has moved on, to {head}, and what was to be put is not that with more shards: take what "
    "is there, store.data({ref!r}), append to it, and put that"
)
DATA_SHARDS = "{who} has other shards than the version before it, {pred}, and one more"
NO_DIFF = "{ref} is a data set, and models are compared: lamda log and lamda data show tell of it"
DATA_FILE = (
    "{path} is no file of rows: {why}. Expected a .npz or .safetensors file with the names inputs "
    "and targets, or names below these, as inputs/ids; or a directory of feedback records"
)
DATA_RECORD = (
    "{path} is no record of feedback, whose name is the SHA-256 of its bytes and .safetensors: "
    "take it away, or copy it again"
)
DATA_RECORDS_DIFFER = (
    "{path} holds {given}, and the other records hold {wanted}: records of one directory have rows "
    "of one type. Keep those of other models in directories of their own"
)
NO_RECORDS = "{path} has no record of feedback: is it the directory that LAMDA_FEEDBACK names?"

MACHINES_DIFFER = (
    "processes that train together differ in {what}; here it is {here}. Give each the same model, "
    "data and arguments, on devices of one kind; a directory or a store is one that all share"
)
MACHINES_DEVICES = (
    "fit over machines computes with all devices of each, or with devices_each= of them: leave "
    "devices= out"
)
MACHINES_EACH = "devices_each={given} are wanted of each machine, and this one has {here}"
MACHINES_STREAM = (
    "over machines, data is (inputs, targets) or a data set; batches that come one by one are of "
    "one machine"
)
MACHINES_PICKLED = (
    "what goes to the machines can not be pickled: {error}. A loss, an optimiser and what else is "
    "given may hold arrays and functions, and no open file, lock or generator"
)
MACHINES_TOGETHER = (
    "{machines} machines with {each} each are wanted, and Ray has {nodes}: processes share them"
)
MACHINES_ROOM = (
    "Ray had no room for {machines} machines with {each} each in {wait:g} seconds; it has {has}, "
    "of which {free} are free. Ask for fewer, for less of each by resources=, or wait= longer"
)
MACHINE_DIED = "machine {place} of {machines}, {host}, is gone: {error}. {then}"
MACHINE_FAILED = "machine {place} of {machines}, {host}, failed: {error}. {then}"
MACHINE_THEN = {
    True: "The same call goes on from the last checkpoint, where there is one.",
    False: "With checkpoint=, a directory that all share, the same call would go on from the last "
    "checkpoint.",
}
MACHINES_RESULT = "the result came from the machines as {given}, and was {wanted} there"
