"""SVG: the boxes of a model as a drawing, from the input at the top to the outputs at the bottom.

Frozen parts are blue, parts to train are orange, parts without weights are grey. Under each name
stands the type of what it gives. Bodies of a control are drawn inside of its box.
"""

from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from lamda.draw.boxes import Box, boxes
from lamda.model import Model

LINE, GAP, ROW, MARGIN, LETTER = 44, 24, 40, 24, 7.4
COLOURS = {"frozen": "#d6e6f5", "trained": "#fbe3c6", "none": "#ececec", "end": "#ffffff"}


class Drawing(NamedTuple):
    """A drawn picture and its size."""

    width: float
    height: float
    body: str


class _Shape(NamedTuple):
    """One box with its size, and the drawings of its bodies."""

    box: Box
    width: float
    height: float
    bodies: tuple[Drawing, ...]


def svg(model: Model) -> str:
    """The drawing of a model, as a standalone SVG document."""
    drawn = _draw(boxes(model))
    return _DOCUMENT.format(
        width=round(drawn.width), height=round(drawn.height), body=drawn.body, title=_text(model)
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


def _draw(drawn: Sequence[Box]) -> Drawing:
    """Boxes in rows, and the arrows between them."""
    shapes = [_shape(box) for box in drawn]
    places = _places(shapes)
    arrows = [
        _arrow(
            places[source],
            shapes[source].height,
            places[target],
            _aside(source, target, shapes, places),
        )
        for target, box in enumerate(drawn)
        for source in box.reads
    ]
    parts = [_rect(shape, place) for shape, place in zip(shapes, places, strict=True)]
    width = max(x + s.width / 2 for s, (x, _) in zip(shapes, places, strict=True)) + MARGIN
    height = max(y + s.height for s, (_, y) in zip(shapes, places, strict=True)) + MARGIN
    return Drawing(width, height, "\n".join(arrows + parts))


def _shape(box: Box) -> _Shape:
    bodies = tuple(_draw(body) for body in box.bodies)
    text = max(len(box.name), len(box.type)) * LETTER + 24
    inside = sum(body.width for body in bodies)
    return _Shape(
        box,
        max(text, inside),
        LINE + max((body.height for body in bodies), default=0),
        bodies,
    )


def _places(shapes: Sequence[_Shape]) -> list[tuple[float, float]]:
    """The middle of the top of every box: rows by the longest way from the input."""
    rows = _rows([shape.box for shape in shapes])
    members = [[i for i, r in enumerate(rows) if r == row] for row in range(max(rows) + 1)]
    widths = [sum(shapes[i].width for i in row) + GAP * (len(row) - 1) for row in members]
    places: dict[int, tuple[float, float]] = {}
    y = MARGIN
    for row, width in zip(members, widths, strict=True):
        x = MARGIN + (max(widths) - width) / 2
        for i in row:
            places[i] = (x + shapes[i].width / 2, y)
            x += shapes[i].width + GAP
        y += max(shapes[i].height for i in row) + ROW
    return [places[i] for i in range(len(shapes))]


def _rows(drawn: Sequence[Box]) -> list[int]:
    """The row of every box; outputs, and nothing else, in the last."""
    rows: list[int] = []
    for box in drawn:
        rows.append(1 + max((rows[source] for source in box.reads), default=-1))
    last = max(rows)
    ends = [box.kind == "end" and i > 0 for i, box in enumerate(drawn)]
    if any(row == last and not end for row, end in zip(rows, ends, strict=True)):
        last += 1
    return [last if end else row for end, row in zip(ends, rows, strict=True)]


def _rect(shape: _Shape, place: tuple[float, float]) -> str:
    box, (x, y) = shape.box, place
    left = x - shape.width / 2
    border = "none" if box.kind == "end" else "#667"
    fill = "none" if box.kind == "end" else "#fafafa" if box.bodies else COLOURS[box.kind]
    name = f'<tspan x="{x:.0f}" dy="0">{_text(box.name)}</tspan>'
    type = f'<tspan x="{x:.0f}" dy="16" fill="#667">{_text(box.type)}</tspan>'
    drawn = (
        f'<rect x="{left:.0f}" y="{y:.0f}" width="{shape.width:.0f}" height="{shape.height:.0f}" '
        f'rx="6" fill="{fill}" stroke="{border}"/>'
        f'<text y="{y + 18:.0f}" text-anchor="middle">{name}{type}</text>'
    )
    left += (shape.width - sum(body.width for body in shape.bodies)) / 2
    for body in shape.bodies:
        drawn += f'\n<g transform="translate({left:.0f} {y + LINE:.0f})">\n{body.body}\n</g>'
        left += body.width
    return drawn


def _aside(
    source: int, target: int, shapes: Sequence[_Shape], places: Sequence[tuple[float, float]]
) -> float | None:
    """How far right an arrow goes to pass what stands between its ends, if something does."""
    (x1, y1), (x2, y2) = places[source], places[target]
    left, right = min(x1, x2), max(x1, x2)
    between = [
        x + shape.width / 2
        for shape, (x, y) in zip(shapes, places, strict=True)
        if y1 < y < y2 and x - shape.width / 2 < right and left < x + shape.width / 2
    ]
    return max(between) + GAP / 2 if between else None


def _arrow(
    source: tuple[float, float], height: float, target: tuple[float, float], aside: float | None
) -> str:
    (x1, y1), (x2, y2) = (source[0], source[1] + height), target
    if aside is None:
        return _path(f"M{x1:.0f} {y1:.0f}{_curve(x1, y1, x2, y2)}")
    down, up = y1 + ROW, y2 - ROW
    way = f"{_curve(x1, y1, aside, down)}L{aside:.0f} {up:.0f}{_curve(aside, up, x2, y2)}"
    return _path(f"M{x1:.0f} {y1:.0f}{way}")


def _curve(x1: float, y1: float, x2: float, y2: float) -> str:
    """A curve that leaves and arrives upright."""
    bend = (y2 - y1) / 2
    return f"C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"


def _path(curve: str) -> str:
    return f'<path d="{curve}" fill="none" stroke="#667" marker-end="url(#tip)"/>'


def _text(value: object) -> str:
    return escape(str(value))
