"""A cluster: processes on machines of Ray, started for one fit, and ended with it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lamda import errors
from lamda.fit import progress as told
from lamda.fit.loop import Event
from lamda.fit.machines.machine import Machine
from lamda.fit.machines.parcel import Parcel
from lamda.fit.machines.reply import Failure, Result

GRACE = 10.0
"""Seconds to look for who is gone, where a machine says that it lost another."""


class Cluster:
    """So many machines, each with what Ray is to give it. Raises SpecError where Ray is missing."""

    def __init__(
        self, machines: int, resources: Mapping[str, float], parcel: Parcel, checkpoint: bool
    ) -> None:
        self._ray = _ray()
        self._count, self._resources = machines, dict(resources)
        self._parcel, self._then = self._ray.put(parcel), errors.MACHINE_THEN[checkpoint]
        self._actors: list[Any] = []
        self._hosts: list[str] = []

    @contextmanager
    def started(self, wait: float, shown: bool) -> Iterator[None]:
        """While its processes are there. Raises MachineError where Ray has no room for them."""
        from ray.util import placement_group, remove_placement_group  # pyright: ignore

        group = placement_group([self._resources] * self._count, self._strategy(shown))
        try:
            self._require_room(group, wait)
            self._actors = [self._actor(group, place) for place in range(self._count)]
            self._hosts = self._each("who")
            yield
        finally:
            for actor in self._actors:
                self._ray.kill(actor)
            remove_placement_group(group)

    def join(self, each: int | None) -> None:
        """The processes meet, where the first of them is."""
        at = self._said(0, self._actors[0].meeting.remote())
        self._each("join", lambda place: (self._parcel, at, self._count, place, each))

    def train(
        self, each: int | None, shown: bool, weights: bool
    ) -> Iterator[Event | Result | Failure]:
        """What the machines say, as it comes. Raises MachineError where one fails or is gone."""
        given = (self._parcel, each, shown, weights)
        runs = [a.train.options(num_returns="streaming").remote(*given) for a in self._actors]
        waiting = dict(enumerate(runs))
        while waiting:
            place, said = self._next(waiting)
            if isinstance(said, Failure) and said.kind is None:
                self._require_alive(waiting)
                raise self._error(errors.MACHINE_FAILED, place, said.text)
            if said is not None:
                yield said

    # --- what Ray does ---

    def _actor(self, group: Any, place: int) -> Any:
        from ray.util.scheduling_strategies import (  # pyright: ignore
            PlacementGroupSchedulingStrategy,
        )

        where = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=place)
        own = self._resources
        kind = self._ray.remote(Machine).options(
            num_cpus=own.get("CPU", 0), num_gpus=own.get("GPU", 0), max_restarts=0,
            resources={k: v for k, v in own.items() if k not in ("CPU", "GPU")},
            scheduling_strategy=where,
        )  # fmt: skip
        return kind.remote()

    def _strategy(self, shown: bool) -> str:
        """Each on a machine of its own, where there are as many."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        fit = [n for n in nodes if all(n.get(k, 0) >= v for k, v in self._resources.items())]
        if len(fit) >= self._count:
            return "STRICT_SPREAD"
        said = {"machines": self._count, "each": self._resources, "nodes": len(fit)}
        told.say(errors.MACHINES_TOGETHER.format(**said), shown)
        return "PACK"

    def _require_room(self, group: Any, wait: float) -> None:
        if not group.wait(wait):
            has, free = self._ray.cluster_resources(), self._ray.available_resources()
            known = {k: (has.get(k, 0), free.get(k, 0)) for k in self._resources}
            said = {
                "machines": self._count, "each": self._resources, "wait": wait,
                "has": {k: v for k, (v, _) in known.items()},
                "free": {k: v for k, (_, v) in known.items()},
            }  # fmt: skip
            raise errors.MachineError(errors.MACHINES_ROOM.format(**said))

    def _each(self, method: str, given: Any = lambda place: ()) -> list[Any]:
        """What each says, all being asked at once."""
        asked = [getattr(a, method).remote(*given(i)) for i, a in enumerate(self._actors)]
        places = {ref: place for place, ref in enumerate(asked)}
        found: dict[int, Any] = {}
        while len(found) < len(asked):  # as they come: one that is gone keeps the others waiting
            left = [ref for ref in asked if places[ref] not in found]
            (ref,), _ = self._ray.wait(left, num_returns=1)
            found[places[ref]] = self._said(places[ref], ref)
        return [found[place] for place in range(len(asked))]

    def _next(self, waiting: dict[int, Any], timeout: float | None = None) -> tuple[int, Any]:
        """What is said next, and where; it is done, where that is the end."""
        ready, _ = self._ray.wait([*waiting.values()], num_returns=1, timeout=timeout)
        for place, run in waiting.items():
            if run in ready:
                try:
                    return place, self._said(place, next(run))
                except StopIteration:
                    del waiting[place]
                    return place, None
        return -1, None

    def _require_alive(self, waiting: dict[int, Any]) -> None:
        """Raises MachineError where one is gone: why the others fail."""
        end = time.monotonic() + GRACE
        while waiting and (left := end - time.monotonic()) > 0:
            self._next(waiting, left)

    def _said(self, place: int, ref: Any) -> Any:
        try:
            return self._ray.get(ref)
        except self._ray.exceptions.RayActorError as error:
            reason = str(error).strip().splitlines()[-1].partition(" Some common causes")[0]
            raise self._error(errors.MACHINE_DIED, place, reason.rstrip(".")) from error

    def _error(self, text: str, place: int, reason: str) -> errors.MachineError:
        host = self._hosts[place] if self._hosts else "which was starting"
        said = {"place": place + 1, "machines": self._count, "host": host, "error": reason}
        return errors.MachineError(text.format(then=self._then, **said))


def _ray() -> Any:
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise errors.SpecError(errors.NO_EXTRA.format(package="ray", extra="ray")) from None
    if not ray.is_initialized():
        ray.init()
    return ray
