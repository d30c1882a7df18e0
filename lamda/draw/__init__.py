"""Pictures of models: SVG documents and mermaid texts, of the same boxes."""

from lamda.draw.mermaid import mermaid as mermaid
from lamda.draw.svg import svg as svg
