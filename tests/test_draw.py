"""Pictures are valid SVG and show each application once."""

from xml.etree import ElementTree

import jax.numpy as jnp
from parts import dense

import lamda as lm

SVG = "{http://www.w3.org/2000/svg}"
f, g, h = dense(4, 8, 0, "f<1>"), dense(8, 2, 1, "g&"), dense(8, 3, 2, "h")
model = lm.branch(a=lm.fine_tune_head(f >> lm.lift(jnp.tanh), g), b=lm.freeze(f) >> h)


def drawn():
    return ElementTree.fromstring(model.draw())


def test_every_application_is_a_box():
    names = [t.text for t in drawn().iter(f"{SVG}tspan")]
    assert sorted(filter(None, names[::2])) == ["a", "b", "f<1>", "g&", "h", "input", "tanh"]


def test_arrows_join_what_reads_to_what_gives():
    arrows = [p for p in drawn().iter(f"{SVG}path") if p.get("marker-end")]
    assert len(arrows) == 6


def test_boxes_do_not_overlap_and_stay_inside():
    root = drawn()
    width, height = float(root.get("width")), float(root.get("height"))
    boxes = [
        tuple(float(r.get(k)) for k in ("x", "y", "width", "height"))
        for r in root.iter(f"{SVG}rect")
        if r.get("rx")
    ]
    for i, (x, y, w, h) in enumerate(boxes):
        assert x >= 0 and y >= 0 and x + w <= width and y + h <= height
        for a, b, c, d in boxes[:i]:
            assert x + w <= a or a + c <= x or y + h <= b or b + d <= y


def test_notebooks_show_the_picture():
    shown = model._repr_mimebundle_()
    assert shown == {"image/svg+xml": model.draw(), "text/plain": repr(model)}
