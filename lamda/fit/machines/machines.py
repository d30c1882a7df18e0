"""Over several machines: :func:`lamda.fit` by the devices of all of them, which Ray finds.

Each machine runs the same program (``jax.distributed``), and takes its part of each batch.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from lamda import errors
from lamda.fit.fit import fit as alone
from lamda.fit.loop import Callback
from lamda.fit.machines.cluster import Cluster
from lamda.fit.machines.parcel import Parcel
from lamda.fit.machines.reply import Failure, Result, received
from lamda.fit.progress import Bar
from lamda.model import Model


def fit(
    model: Model,
    data: Any,
    *,
    machines: int = 2,
    devices_each: int | None = None,
    resources: Mapping[str, float] | None = None,
    wait: float = 60.0,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
    **how: Any,
) -> Model:
    """``fit(m, data, machines=n, ...)`` is ``lm.fit(m, data, ...)`` by all devices of n machines.

    Everything else is as for :func:`lamda.fit`, and so is the result: the successor of ``m``, equal
    to that of one machine but for the order in which sums are taken; its receipt says how many
    ``devices`` there were. All machines must find the same address, or it is an error.

    - ``resources`` are what Ray gives each machine, ``{"CPU": 1}`` if not said: ``{"GPU": 4}``.
      Where Ray has as many machines, each is another one; where it has not, it says so.
    - ``devices_each`` is how many of its devices each computes with, all if not said. A CPU is one
      device, or as many as are asked for.
    - ``batch`` is that of all machines together, and is shared by all devices.
    - ``checkpoint`` is a directory, and ``store`` one or a remote, that all machines share.
    - ``callbacks`` are called here. One that raises ends the run.
    - ``wait`` is for how many seconds Ray may look for room.

    Ray is the one that ``ray.init`` was called for, or one that it starts here. The machines have
    lamda installed, and what ``loss`` and ``optimizer`` import.

    On four machines of eight GPUs each::

        from lamda.fit import machines

        machines.fit(model, data, machines=4, resources={"GPU": 8}, batch=256, **how)

    Raises what :func:`lamda.fit` does; SpecError for what can not be sent; MachineError where there
    is no room, or a machine fails or is gone, and ends the others: with ``checkpoint`` the same
    call goes on from the last one.

    Source: https://docs.jax.dev/en/latest/multi_process.html.
    """
    if type(machines) is not int or machines < 1:
        raise errors.SpecError(errors.FIT_COUNT.format(what="machines", given=machines))
    if devices_each is not None and (type(devices_each) is not int or devices_each < 1):
        raise errors.SpecError(errors.FIT_COUNT.format(what="devices_each", given=devices_each))
    if "devices" in how:
        raise errors.SpecError(errors.MACHINES_DEVICES)
    inspect.signature(alone).bind(model, data, **how)  # raises TypeError
    parcel = Parcel.of(model, data, **how)
    cluster = Cluster(machines, resources or {"CPU": 1}, parcel, bool(how.get("checkpoint")))
    with cluster.started(wait, progress), Bar("training", how.get("steps"), progress) as bar:
        cluster.join(devices_each)
        at = 0
        for said in cluster.train(devices_each, bool(callbacks or progress), bool(callbacks)):
            match said:
                case Result():
                    return said.after(model)
                case Failure():
                    raise said.error(model)
            bar.step(said.step - at, loss=f"{said.loss:.4f}")
            at = said.step
            if callbacks:
                event = received(said, model)
                for callback in callbacks:
                    callback(event)
    raise AssertionError("the first machine says what came of it")
