"""One machine of several: what runs there, a process with all of its devices."""

import os
import socket
from collections.abc import Iterator
from queue import SimpleQueue
from threading import Thread
from typing import Any

import jax

from lamda import errors
from lamda.fit.loop import Event
from lamda.fit.machines.parcel import Parcel
from lamda.fit.machines.reply import Failure, Result, sent


class Machine:
    """A process that trains with others: an actor of Ray, made once for each machine."""

    def __init__(self, host: str = "") -> None:
        self.host = host or _ray_host()

    def who(self) -> str:
        """Its host, and the number of its process there."""
        return f"process {os.getpid()} of {self.host}"

    def meeting(self) -> str:
        """Where the others can meet, if it is here: ``host:port``."""
        with socket.socket() as free:
            free.bind((self.host, 0))
            return f"{self.host}:{free.getsockname()[1]}"

    def join(self, parcel: Parcel, at: str, machines: int, place: int, each: int | None) -> None:
        """Meet the others. ``each`` is how many devices it computes with; all, if ``None``."""
        for name, value in parcel.config.items():
            jax.config.update(name, value)
        if each is not None:
            jax.config.update("jax_num_cpu_devices", each)  # of others, there are what there are
        jax.distributed.initialize(at, machines, place)

    def train(
        self, parcel: Parcel, each: int | None, told: bool, weights: bool
    ) -> Iterator[Event | Result | Failure | None]:
        """Fit. The first machine says how it goes, where that is to be ``told``, and what came
        of it; the others only what went wrong.
        """
        first = jax.process_index() == 0
        said: SimpleQueue[Event | Result | Failure | None] = SimpleQueue()

        def tell(event: Event) -> None:
            said.put(sent(event, weights))

        def run() -> None:
            try:
                new = parcel.fit(_devices(each), tell if told and first else None)
                said.put(Result.of(new) if first else None)
            except BaseException as error:  # it is raised where the fit was asked for
                said.put(Failure.of(error))

        Thread(target=run, daemon=True).start()
        while isinstance(news := said.get(), Event):
            yield news
        yield news


def _ray_host() -> str:
    from ray.util import get_node_ip_address  # pyright: ignore[reportMissingImports]

    return get_node_ip_address()


def _devices(each: int | None) -> list[Any]:
    """So many devices of every process. Raises SpecError where one has fewer."""
    here = jax.local_device_count()
    if each is not None and here < each:
        raise errors.SpecError(errors.MACHINES_EACH.format(given=each, here=here))
    return [d for place in range(jax.process_count()) for d in _of(place)[:each]]


def _of(place: int) -> list[Any]:
    return [device for device in jax.devices() if device.process_index == place]
