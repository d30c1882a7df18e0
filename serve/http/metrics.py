"""GET /metrics: the counters of a process, as Prometheus reads them.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import os
import time
from itertools import accumulate

from serve.watch import BOUNDS, READY

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator

    from serve.handler import Handler
    from serve.watch import Row

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def text(handler: Handler) -> str:
    """All of them. Labels have few values: routes, methods and statuses, never what was sent."""
    return "".join(f"{line}\n" for line in _lines(handler))


def _lines(handler: Handler) -> Iterator[str]:
    bundle, watch = handler.bundle, handler.watch
    told = {
        "name": bundle.name,
        "address": bundle.address,
        "way": getattr(handler.engine, "way", ""),
    }
    yield from _head("lamda_model_info", "gauge", "The model that is served.")
    yield f"lamda_model_info{_labels(told)} 1"
    yield from _head("lamda_ready", "gauge", "1 where requests should come here.")
    yield f"lamda_ready {int(watch.state == READY)}"
    rows = sorted(watch.rows.items())
    yield from _head("lamda_request_seconds", "histogram", "How long requests took.")
    for key, row in rows:
        yield from _histogram("lamda_request_seconds", _key(key), row)
    for name, part in (("received", "requests"), ("sent", "answers")):
        yield from _head(f"lamda_{name}_bytes_total", "counter", f"The bodies of {part}, in bytes.")
        for key, row in rows:
            yield f"lamda_{name}_bytes_total{_labels(_key(key))} {getattr(row, name)}"
    yield from _process()


def _histogram(name: str, labels: dict[str, str], row: Row) -> Iterator[str]:
    sums = list(accumulate(row.buckets))
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), sums, strict=True):
        yield f"{name}_bucket{_labels(labels | {'le': bound})} {count}"
    yield f"{name}_sum{_labels(labels)} {row.seconds:.9g}"
    yield f"{name}_count{_labels(labels)} {sums[-1]}"


def _process() -> Iterator[str]:
    """What every client of Prometheus tells of its process."""
    yield from _head("process_cpu_seconds_total", "counter", "CPU time of the process.")
    yield f"process_cpu_seconds_total {time.process_time():.6f}"
    try:
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
    except OSError:
        return  # not Linux
    yield from _head("process_resident_memory_bytes", "gauge", "Resident memory of the process.")
    yield f"process_resident_memory_bytes {pages * os.sysconf('SC_PAGE_SIZE')}"


def _head(name: str, kind: str, help: str) -> tuple[str, str]:
    return f"# HELP {name} {help}", f"# TYPE {name} {kind}"


def _key(key: tuple[str, str, int]) -> dict[str, str]:
    route, method, status = key
    return {"route": route, "method": method, "status": str(status)}


def _labels(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
