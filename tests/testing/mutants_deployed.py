"""Mutants of keeping and running: stores, compiled programs, batches and handlers."""

import os
import time
from collections.abc import Callable
from typing import Any

from mutant import Mutant
from pytest import MonkeyPatch

from lamda.compile import manifest, program
from lamda.store import blobs, files, reading, writing
from lamda.store.store import Store
from lamda.term import Slot, Token
from lamda.testing.suites import batch, handler, storage
from lamda.testing.suites import compile as compiling
from lamda.testing.suites import store as storing
from serve import batching
from serve import handler as serving
from serve.arrays import Array
from serve.body import lists
from serve.errors import RequestError
from serve.handler import Handler

ORDER, CONCURRENCY, STATE = (
    next(law for law in handler.HANDLER.laws if word in law.name)
    for word in ("order", "concurrency", "state")
)
REFUSED, WHO, ANSWER = (
    next(law for law in handler.HANDLER.laws if word in law.name)
    for word in ("refused", "who", "reference")
)


def replaced(owner: Any, name: str, change: Callable[[Any], Any]) -> Callable[[MonkeyPatch], None]:
    """Puts ``change(what was there)`` in the place of an attribute."""
    return lambda patch: patch.setattr(owner, name, change(getattr(owner, name)))


def noted(**more: Callable[[], Any]) -> Callable[[Any], Any]:
    """A record with more in it."""
    return lambda write: lambda *of: write(*of) | {k: f() for k, f in more.items()}


def without_flushing_directories(patch: MonkeyPatch) -> None:
    def made(directory):
        directory.mkdir(parents=True, exist_ok=True)

    patch.setattr(blobs, "make_directory", made)
    patch.setattr(files, "make_directory", made)


def unflushed(_: Any) -> Any:
    def leave(self, kind, *_):
        self._file.close()
        if kind is None and self.target is not None:
            os.replace(self.temporary, self.target)
        else:
            self.temporary.unlink()

    return leave


def hasty(put: Any) -> Any:
    def first_the_ref(self, *given, **more):
        self.blobs.sync = lambda: None
        try:
            return put(self, *given, **more)
        finally:
            del self.blobs.sync
            self.blobs.sync()

    return first_the_ref


def counting(answer: Any) -> Any:
    def every_third(self, *request):
        self.bundle.asked = [*getattr(self.bundle, "asked", ()), request]
        return answer(self, *self.bundle.asked[-2 if len(self.bundle.asked) % 3 == 0 else -1])

    return every_third


def shared(answer: Any) -> Any:
    now = {}

    def by_way_of_an_attribute(self, *request):
        now["request"] = request
        time.sleep(0.0005)
        return answer(self, *now["request"])

    return by_way_of_an_attribute


def lenient(requested: Any) -> Any:
    return lambda said, offered: requested(said if said in offered else None, offered)


def remembering(answer: Any) -> Any:
    def and_keeps_the_last(self, *request):
        given = answer(self, *request)
        self.bundle.example = given[0].decode("latin-1")
        return given

    return and_keeps_the_last


def padded_before(fit: Any) -> Any:
    def turned(a, shape):
        if not shape or a.shape[0] >= shape[0]:
            return fit(a, shape)
        size = len(a.data) // a.shape[0]
        return Array(a.dtype, shape, bytes((shape[0] - a.shape[0]) * size) + a.data)

    return turned


def cut_one_early(piece: Any) -> Any:
    def early(a, axis, start, stop):
        first = max(start - 1, 0)
        return piece(a, axis, first, first + stop - start)

    return early


class Baked(program.Structure):
    """A structure with its weights in its program."""

    def main(self):
        inner, arrays = super().main(), self.arrays
        return lambda *given: inner(*arrays, *given[len(arrays) :])


def baked(at: Any) -> Any:
    def with_numbers(self, sizes):
        made = Baked(*at(self, sizes))
        made.arrays = [argument.tensors[0].array for argument in self.arguments]
        return made

    return with_numbers


MUTANTS = [
    Mutant("a record says when it was written", storage.the_same_model_is_the_same_bytes,
           replaced(writing, "write", noted(at=time.monotonic_ns))),
    Mutant("a record says which process wrote it", storage.any_process_writes_the_same_bytes,
           replaced(writing, "write", noted(process=os.getpid))),
    Mutant("blobs are listed in the order of a set", storage.any_process_writes_the_same_bytes,
           replaced(Store, "_layers", lambda layers: lambda self, entry: sorted(
               layers(self, entry), key=lambda layer: hash((layer["digest"], os.getpid()))))),
    Mutant("a store does not flush the directory of its blobs", storage.a_power_cut_breaks_nothing,
           replaced(blobs.Blobs, "sync", lambda _: lambda self: None)),
    Mutant("a store does not flush where it makes directories",
           storage.what_is_acknowledged_survives, without_flushing_directories),
    Mutant("a store does not flush its files", storage.what_is_acknowledged_survives,
           replaced(blobs.replacing, "__exit__", unflushed)),
    Mutant("a ref is written before its blobs are flushed", storage.a_power_cut_breaks_nothing,
           replaced(Store, "put", hasty)),
    Mutant("get forgets what is frozen", storage.parts_come_back,
           replaced(reading, "Slot", lambda _: lambda token, frozen: Slot(token, False))),
    Mutant("get unties a part from its frozen copy", storage.parts_come_back,
           replaced(reading, "Slot", lambda _: lambda token, frozen: Slot(Token(), frozen))),
    Mutant("put keeps no version before", storage.the_version_before_comes_back,
           replaced(Store, "_write", lambda write: lambda self, m, _, source: write(
               self, m, None, source))),
    Mutant("put moves a ref to any version", storing.a_store_is_a_dictionary,
           replaced(Store, "_require_place", lambda _: lambda *of: None)),
    Mutant("the log ends before the first version", storing.a_store_is_a_dictionary,
           replaced(Store, "log", lambda log: lambda self, ref: log(self, ref)[:-1])),
    Mutant("a handler counts, and mixes up every third request", ORDER,
           replaced(Handler, "compute", counting)),
    Mutant("a handler keeps the request in a variable that threads share", CONCURRENCY,
           replaced(Handler, "compute", shared)),
    Mutant("a handler keeps its last answer", STATE, replaced(Handler, "compute", remembering)),
    Mutant("numbers that are too large are answered", REFUSED,
           replaced(lists, "_overflows", lambda _: lambda *of: False)),
    Mutant("a request that is wrong is a 500", REFUSED,
           replaced(RequestError.__init__, "__defaults__", lambda _: (500,))),
    Mutant("any content type is taken for JSON", REFUSED,
           replaced(serving, "requested", lenient)),
    Mutant("answers are rounded to four digits", ANSWER,
           replaced(lists, "_DIGITS", lambda digits: digits | {"float32": "%.2g"})),
    Mutant("a handler says that it is its own predecessor", WHO,
           replaced(manifest, "describe", lambda describe: lambda model, *of: describe(
               model, *of) | {"pred": model.address})),
    Mutant("padding stands before the rows", batch.padding_changes_nothing,
           replaced(batching, "fit", padded_before)),
    Mutant("a large batch is cut one row early", batch.padding_changes_nothing,
           replaced(batching, "piece", cut_one_early)),
    Mutant("weights are constants of the program", compiling.a_successor_has_the_same_program,
           replaced(program.Program, "at", baked)),
    Mutant("weights are passed in the wrong order", compiling.compiled_is_interpreted,
           replaced(program.Program, "arguments",
                    lambda real: property(lambda self: real.fget(self)[::-1]))),
]  # fmt: skip
