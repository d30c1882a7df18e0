"""Data sets: shards that stay as they are, addresses of what they hold, rows without the rest."""

import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lamda as lm
from lamda.data import address_of
from lamda.tensor import Tensor

x = np.arange(12, dtype=np.float32).reshape(4, 3)
y = np.arange(4, dtype=np.int32)


def alike(a, b):
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        p.dtype == q.dtype and p.shape == q.shape and np.array_equal(p, q)
        for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@st.composite
def parts(draw):
    """Rows of one type, added in several parts: ``[(inputs, targets), ...]``."""
    names = draw(st.lists(st.sampled_from(["ids", "mask", "x"]), min_size=1, unique=True))
    width = draw(st.integers(0, 3))

    def some(count):
        seed = draw(st.integers(0, 3))
        draws = np.random.default_rng(seed)
        tree = {n: draws.normal(size=(count, width)).astype(np.float32) for n in names}
        return tree, (draws.integers(0, 9, count, dtype=np.int32), np.ones((count, 2), bool))

    return [some(n) for n in draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))]


def added(rows):
    data = lm.DataSet.of(*rows[0])
    for each in rows[1:]:
        data = data.append(*each)
    return data


# Laws


@given(parts())
def test_appending_and_then_reading_is_concatenation(rows):
    data = added(rows)
    whole = jax.tree.map(lambda *each: np.concatenate(each), *rows)
    assert alike(data.arrays(), whole)
    assert alike(data.take(slice(None)), whole)
    assert len(data) == len(whole[1][0])


@given(parts(), st.data())
def test_take_is_indexing_of_the_whole(rows, drawn):
    data = added(rows)
    chosen = drawn.draw(st.lists(st.integers(0, len(data) - 1)))
    wanted = jax.tree.map(lambda a: a[np.array(chosen, int)], data.arrays())
    assert alike(data.take(chosen), wanted)


@given(parts(), parts())
def test_data_sets_are_equal_exactly_when_their_shards_are(a, b):
    one, other = added(a), added(b)
    same = len(a) == len(b) and all(map(alike, a, b))
    assert (one.address == other.address) == (one == other) == same
    assert hash(one) == hash(added(a)) and one == added(a)


@given(parts())
def test_the_version_before_has_one_shard_less(rows):
    data, more = added(rows), added([*rows, rows[0]])
    assert more.pred == data and more.shards[:-1] == data.shards
    at = more
    for _ in rows:
        at = at.pred
    assert at is not None and at.pred is None


def test_one_shard_of_all_rows_is_another_data_set_than_two_of_some():
    assert lm.DataSet.of(x, y) != lm.DataSet.of(x[:2], y[:2]).append(x[2:], y[2:])


def test_the_address_tells_structures_dtypes_and_shapes_apart():
    zeros = np.zeros((2, 2), np.float32)
    trees = [
        zeros, (zeros,), {"0": zeros}, {"a": zeros}, ((zeros,),), (zeros, zeros),
        zeros.astype(np.int32), zeros.reshape(2, 2, 1), {"a": {"a": zeros}},
    ]  # fmt: skip
    addresses = {lm.DataSet.of(tree, np.zeros(2, np.int32)).address for tree in trees}
    assert len(addresses) == len(trees)
    assert lm.DataSet.of(zeros, zeros.astype(np.int32)) != lm.DataSet.of(
        zeros.astype(np.int32), zeros
    )


def test_the_address_is_the_same_in_another_process_and_of_other_arrays():
    code = (
        "import numpy as np, lamda as lm; x = np.arange(12, dtype='f4').reshape(4, 3);"
        "print(lm.DataSet.of({'b': x, 'a': x}, np.arange(4, dtype='i4')).address)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == lm.DataSet.of({"a": x, "b": x}, y).address
    for same in (jnp.asarray(x), np.asfortranarray(x), x.astype(">f4"), np.repeat(x, 2, 0)[::2]):
        assert lm.DataSet.of(same, y) == lm.DataSet.of(x, y)


def test_records_name_rows_and_are_no_part_of_the_address():
    data = lm.DataSet.of(x, y, records=["ab" * 32]).append(x, y, records=["cd" * 32, "ef" * 32])
    assert data == lm.DataSet.of(x, y).append(x, y)
    assert data.records == {"ab" * 32, "cd" * 32, "ef" * 32} and data.pred.records == {"ab" * 32}
    for wrong in (["ab"], ["xy" * 32]):
        with pytest.raises(lm.SpecError, match="each of 64 hexadecimal digits"):
            lm.DataSet.of(x, y, records=wrong)


@given(parts())
def test_the_address_of_arrays_is_that_of_one_shard_of_them_and_leaves_them_alone(rows):
    inputs, targets = rows[0]
    assert address_of(inputs, targets) == lm.DataSet.of(inputs, targets).address
    assert all(array.flags.writeable for array in jax.tree.leaves(rows[0]))


# Values


def test_a_data_set_stays_as_it_was_whatever_becomes_of_what_it_was_made_of():
    mine = x.copy()
    view = mine[:]
    view.flags.writeable = False
    for given_ in (mine, view):
        data = lm.DataSet.of(given_, y)
        before = data.arrays()[0].tolist()
        mine += 1
        assert data.arrays()[0].tolist() == before
    with pytest.raises(ValueError, match="read-only"):
        data.arrays()[0][0] = 0
    with pytest.raises(AttributeError):
        data.shards = ()


def test_what_nobody_can_change_is_not_copied():
    fixed = x.copy()
    fixed.flags.writeable = False
    assert np.shares_memory(lm.DataSet.of(fixed, y).arrays()[0], fixed)


def test_types_and_text():
    data = lm.DataSet.of({"ids": x, "mask": x > 1}, y).append({"ids": x, "mask": x > 1}, y)
    assert str(data) == repr(data) == (
        "<8 rows in 2 shards: {ids: float32[n, 3], mask: bool[n, 3]} -> int32[n]>"
    )  # fmt: skip
    assert repr(lm.DataSet.of(x[:1], y[:1])) == "<1 row in 1 shard: float32[n, 3] -> int32[n]>"
    assert str(data.target) == "int32[n]" and data.nbytes == 2 * (48 + 12 + 16)


def test_sixty_four_bits_become_thirty_two_as_in_jax():
    data = lm.DataSet.of(x.astype(np.float64), y.astype(np.int64))
    assert data == lm.DataSet.of(x, y)
    for wrong in (np.array([2**31]), np.array([-(2**31) - 1]), np.array([1e300])):
        with pytest.raises(lm.SpecError, match="a number that is too large for it"):
            lm.DataSet.of(wrong, wrong)
    with jax.enable_x64(True):
        assert str(lm.DataSet.of(x.astype(np.float64), y).input) == "float64[n, 3]"


def test_every_dtype_that_a_tensor_has():
    for name in ("bool", "int8", "uint8", "uint16", "float16", "bfloat16", "float32", "complex64"):
        rows = np.ones((3, 2)).astype(jnp.dtype(name))
        data = lm.DataSet.of(rows, y[:3]).append(rows, y[:3])
        assert alike(data.take([5, 0])[0], rows[:2])


@pytest.mark.parametrize(
    ("inputs", "targets", "said"),
    [
        (x, y[:3], "was given float32[4, 3] and int32[3]"),
        (x, np.int32(3), "was given float32[4, 3] and int32[]"),
        (x[:0], y[:0], "was given float32[0, 3] and int32[0]"),
        ({"a": x, "b": x[:2]}, y, "was given {a: float32[4, 3], b: float32[2, 3]} and int32[4]"),
        (x, [0, 1, 2, 3], "What is a list of numbers is an array by numpy.asarray"),
        (x, {}, "was given float32[4, 3] and {}"),
        (x, np.array(["a"] * 4), "have no form in a safetensors file"),
        (x, np.array([{}] * 4), "have no form in a safetensors file"),
        (x, None, "None"),
        ({1: x}, y, "is no type"),
    ],
)
def test_what_is_no_rows_is_refused(inputs, targets, said):
    with pytest.raises(lm.SpecError) as told:
        lm.DataSet.of(inputs, targets)
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("inputs", "targets", "said"),
    [
        ({"a": x}, y, "these are {a: float32[n, 3]} -> int32[n], and those before are float32[n"),
        (x[:, :2], y, "these are float32[n, 2] -> int32[n], and those before are float32[n, 3] ->"),
        (x, y.astype(np.float32), "-> float32[n], and those before are float32[n, 3] -> int32[n]"),
        (x, y[:2], "with one first axis"),
    ],
)
def test_rows_of_another_type_are_refused(inputs, targets, said):
    data = lm.DataSet.of(x, y)
    with pytest.raises(lm.SpecError) as told:
        data.append(inputs, targets)
    assert said in str(told.value) and len(data.shards) == 1


@pytest.mark.parametrize("rows", [[4], [-1], [0.5], [[0]], 0, [True] * 4, ["a"], None])
def test_what_is_no_row_is_refused(rows):
    with pytest.raises(lm.SpecError, match="whole numbers from 0 to below 4, or a slice"):
        lm.DataSet.of(x, y).take(rows)


def test_nothing_is_read_of_shards_that_no_row_is_taken_of():
    data = lm.DataSet.of(x, y).append(x, y)

    def load():
        raise AssertionError("it was opened")

    def lazy(tensor):
        return Tensor.lazy(tensor.type, tensor.digest, load)

    first = data.shards[0]
    closed = replace(
        first, rows=type(first.rows)(first.rows.structure, tuple(map(lazy, first.rows.tensors)))
    )
    half = lm.DataSet((closed, data.shards[1]))
    assert half == data and alike(half.take([4, 7]), (x[[0, 3]], y[[0, 3]]))
    with pytest.raises(AssertionError, match="it was opened"):
        half.take([3])
