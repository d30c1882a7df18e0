"""Mermaid: a drawing as text, which forges and notebooks show (https://mermaid.js.org)."""

from collections.abc import Iterator, Sequence

from lamda.draw.boxes import Box, boxes
from lamda.draw.svg import COLOURS
from lamda.model import Model


def mermaid(model: Model) -> str:
    """The drawing of a model as a mermaid flowchart.

    >>> import jax.numpy as jnp, lamda as lm
    >>> print(mermaid(lm.lift(jnp.sin, input="float32[b]") >> lm.lift(jnp.cos)))
    flowchart TB
      n0(["input<br>float32[b]"]):::end_
      n1["sin<br>float32[b]"]:::none
      n2["cos<br>float32[b]"]:::none
      n3(["output"]):::end_
      n0 --> n1
      n1 --> n2
      n2 --> n3
      classDef frozen fill:#d6e6f5,stroke:#667
      classDef trained fill:#fbe3c6,stroke:#667
      classDef none fill:#ececec,stroke:#667
      classDef end_ fill:#ffffff,stroke:#ffffff
    """
    lines = ["flowchart TB", *_lines(boxes(model), "n", "  ")]
    for kind, colour in COLOURS.items():
        border = colour if kind == "end" else "#667"
        lines.append(f"  classDef {_class(kind)} fill:{colour},stroke:{border}")
    return "\n".join(lines)


def _lines(drawn: Sequence[Box], prefix: str, indent: str) -> Iterator[str]:
    for i, box in enumerate(drawn):
        yield from _box(box, f"{prefix}{i}", indent)
    for i, box in enumerate(drawn):
        yield from (f"{indent}{prefix}{source} --> {prefix}{i}" for source in box.reads)


def _box(box: Box, name: str, indent: str) -> Iterator[str]:
    text = "<br>".join(map(_text, filter(None, (box.name, box.type))))
    if box.bodies:
        yield f'{indent}subgraph {name}["{text}"]'
        for number, body in enumerate(box.bodies):
            yield from _lines(body, f"{name}_{number}_", f"{indent}  ")
        yield f"{indent}end"
        yield f"{indent}class {name} {_class(box.kind)}"
    else:
        opening, closing = ("([", "])") if box.kind == "end" else ("[", "]")
        yield f'{indent}{name}{opening}"{text}"{closing}:::{_class(box.kind)}'


def _class(kind: str) -> str:
    # "end" alone closes a subgraph.
    return "end_" if kind == "end" else kind


def _text(text: str) -> str:
    return (
        text.replace("&", "#amp;").replace("<", "#lt;").replace(">", "#gt;").replace('"', "#quot;")
    )
