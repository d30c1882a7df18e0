"""Pictures: the program of a model as an SVG drawing.

One box for each application, from the input at the top to the output at the bottom; what is
shared is drawn once. Frozen parts are blue, parts to train are orange, parts without weights are
grey. Under each name stands the type of what it gives.
"""

from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import jax

from lamda import types
from lamda.model import Model
from lamda.normal import is_wire

HEIGHT, GAP, STEP, LETTER = 44, 24, 84, 7.4
COLOURS = {"frozen": "#d6e6f5", "trained": "#fbe3c6", "none": "#ececec", "end": "#ffffff"}


class Box(NamedTuple):
    """One box: its name, the type it gives, its kind (of ``COLOURS``), and the boxes it reads."""

    name: str
    type: str
    kind: str
    reads: tuple[int, ...]

    @property
    def width(self) -> float:
        return max(len(self.name), len(self.type)) * LETTER + 24


def svg(model: Model) -> str:
    """The drawing of a model, as a standalone SVG document."""
    boxes = _boxes(model)
    places = _places(boxes)
    width = max(x + boxes[i].width / 2 for i, (x, _) in enumerate(places)) + GAP
    height = max(y for _, y in places) + HEIGHT + 24
    arrows = [
        _arrow(places[source], places[target])
        for target, box in enumerate(boxes)
        for source in box.reads
    ]
    drawn = [_box(box, place) for box, place in zip(boxes, places, strict=True)]
    return _DOCUMENT.format(
        width=round(width), height=round(height), body="\n".join(arrows + drawn), title=_text(model)
    )


_DOCUMENT = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" \
viewBox="0 0 {width} {height}" font-family="ui-monospace, Menlo, Consolas, monospace" \
font-size="12">
<title>{title}</title>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" \
orient="auto"><path d="M0 0 8 4 0 8z" fill="#667"/></marker></defs>
<rect width="100%" height="100%" fill="#ffffff"/>
{body}
</svg>
"""


def _boxes(model: Model) -> list[Box]:
    """The input, every application, and the output; box ``i + 1`` is node ``i``."""
    graph = model.program
    boxes = [Box("input", types.show(graph.input), "end", ())]
    for node in graph.nodes:
        kind = "none"
        if node.slots:
            frozen = all(graph.slots[place].frozen for place in node.slots)
            kind = "frozen" if frozen else "trained"
        gives = types.show(node.gives)
        boxes.append(Box(node.op.name, gives, kind, _reads(node.argument)))
    if isinstance(graph.output, dict):
        ends = list(graph.output.items())
    elif isinstance(graph.output, tuple):
        ends = [(str(i), tree) for i, tree in enumerate(graph.output)]
    else:
        ends = [("output", graph.output)]
    return boxes + [Box(name, "", "end", _reads(tree)) for name, tree in ends]


def _reads(argument: Any) -> tuple[int, ...]:
    """The boxes that an argument comes from."""
    wires = jax.tree.leaves(argument, is_leaf=is_wire)
    return tuple(dict.fromkeys(wire.node + 1 for wire in wires))


def _places(boxes: list[Box]) -> list[tuple[float, float]]:
    """The middle of the top of every box: rows by the longest way from the input."""
    rows: list[int] = []
    for box in boxes:
        rows.append(1 + max((rows[source] for source in box.reads), default=-1))
    last = max(rows)
    ends = [box.kind == "end" and bool(box.reads) for box in boxes]
    rows = [last if end else row for end, row in zip(ends, rows, strict=True)]
    members = [[i for i, r in enumerate(rows) if r == row] for row in range(last + 1)]
    widths = [sum(boxes[i].width for i in row) + GAP * (len(row) - 1) for row in members]
    places: dict[int, tuple[float, float]] = {}
    for row, (ids, width) in enumerate(zip(members, widths, strict=True)):
        x = GAP + (max(widths) - width) / 2
        for i in ids:
            places[i] = (x + boxes[i].width / 2, 24 + row * STEP)
            x += boxes[i].width + GAP
    return [places[i] for i in range(len(boxes))]


def _box(box: Box, place: tuple[float, float]) -> str:
    x, y = place
    border = "none" if box.kind == "end" else "#667"
    name = f'<tspan x="{x:.0f}" dy="0">{_text(box.name)}</tspan>'
    type = f'<tspan x="{x:.0f}" dy="16" fill="#667">{_text(box.type)}</tspan>'
    return (
        f'<rect x="{x - box.width / 2:.0f}" y="{y:.0f}" width="{box.width:.0f}" height="{HEIGHT}" '
        f'rx="6" fill="{COLOURS[box.kind]}" stroke="{border}"/>'
        f'<text y="{y + 18:.0f}" text-anchor="middle">{name}{type}</text>'
    )


def _arrow(source: tuple[float, float], target: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = (source[0], source[1] + HEIGHT), target
    bend = (y2 - y1) / 2
    return (
        f'<path d="M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} '
        f'{x2:.0f} {y2:.0f}" fill="none" stroke="#667" marker-end="url(#tip)"/>'
    )


def _text(value: Any) -> str:
    return escape(str(value))
