"""Commands that train: reproduce, evolve."""

import argparse

from lamda.cli.arguments import Command, count, store_of, tell


def add(command: Command, in_store: Command) -> None:
    """The commands that train."""
    reproduce = in_store(
        "reproduce", _reproduce, "train a version again from what its receipt names, and compare "
        "addresses; exit 1 where they differ", "lamda reproduce news --store store",
    )  # fmt: skip
    reproduce.add_argument(
        "--data", metavar="REF", help="the data set (default: the one that the receipt names)"
    )
    evolve = in_store(
        "evolve", _evolve, "fit the successor of a version to a data set, and move the ref unless "
        "the metric fell", "lamda evolve news --data news/labelled --store store",
    )  # fmt: skip
    evolve.add_argument("--data", metavar="REF", required=True, help="the data set")
    evolve.add_argument(
        "--metric", default="accuracy", help="what must not fall on what is held out (accuracy)"
    )
    evolve.add_argument("--least", action="store_true", help="of the metric, less is better")
    evolve.add_argument(
        "--holdout", type=float, default=0.2, metavar="PART",
        help="the part of the data that is not trained on (default: 0.2)",
    )  # fmt: skip
    evolve.add_argument(
        "--steps", type=count, metavar="N", help="default: as many as the version before took"
    )


def _reproduce(chosen: argparse.Namespace) -> int:
    from lamda.fit.reproduce import reproduce

    store = store_of(chosen)
    data = None if chosen.data is None else store.data(chosen.data)
    done = reproduce(store, chosen.ref, data, progress=not chosen.json)
    lines = [f"{done.wanted} is what the store has", f"{done.found} is what training gave now"]
    said = done._asdict() | {"same": done.same}
    tell(chosen, said, ["the same" if done.same else "NOT the same", *lines, *done.notes])
    return 0 if done.same else 1


def _evolve(chosen: argparse.Namespace) -> None:
    from lamda.fit.evolve import evolve

    done = evolve(
        store_of(chosen), chosen.ref, chosen.data, metric=chosen.metric, least=chosen.least,
        holdout=chosen.holdout, steps=chosen.steps, progress=not chosen.json,
    )  # fmt: skip
    said = done._asdict() | {"model": done.model.address}
    where = f"is {done.model.address} now" if done.moved else "stays where it was"
    tell(chosen, said, [
        f"{done.metric} {done.before:.4f} before, {done.after:.4f} after, on {done.held} held out",
        f"fitted to {done.trained} examples",
        f"{chosen.ref} {where}",
    ])  # fmt: skip
