"""Write vad_reference.json: what onnxruntime hears in the recording.

Run by hand, in an environment of its own, never the project's (onnxruntime is no dependency):

    python -m venv /tmp/reference
    /tmp/reference/bin/pip install onnxruntime==1.32.0 numpy
    PYTHONPATH=examples /tmp/reference/bin/python tests/examples/make_vad_reference.py
"""

from __future__ import annotations

import io
import json
import wave
import zipfile
from pathlib import Path

import data
import numpy as np

HERE = Path(__file__).parent
CHUNK, CONTEXT = 512, 64


def main() -> None:
    """Run the model on every chunk, and write nine significant digits of each number."""
    import onnxruntime  # pyright: ignore[reportMissingImports]

    with zipfile.ZipFile(data.fetch(data.SILERO)) as archive:
        model = archive.read("silero_vad/data/silero_vad_16k_op15.onnx")
    with zipfile.ZipFile(data.fetch(data.SPEECH)) as archive:
        file = archive.read("pyannote/audio/sample/sample.wav")
    with wave.open(io.BytesIO(file)) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / np.float32(32768)
    session = onnxruntime.InferenceSession(model)
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros((1, CONTEXT), np.float32)
    rate, probabilities = np.array(16000, np.int64), []
    for start in range(0, len(samples) - CHUNK + 1, CHUNK):
        x = np.concatenate([context, samples[None, start : start + CHUNK]], axis=1)
        output, state = session.run(None, {"input": x, "state": state, "sr": rate})
        probabilities.append(output[0, 0])
        context = x[:, -CONTEXT:]
    text = {
        "made_by": Path(__file__).name,
        "made_with": f"onnxruntime {onnxruntime.__version__}",
        "probabilities": _numbers(np.array(probabilities)),
        "h": _numbers(state[0, 0]),
        "c": _numbers(state[1, 0]),
    }
    body = json.dumps(text, indent=1)
    HERE.joinpath("vad_reference.json").write_text(body + "\n", encoding="utf-8")


def _numbers(array: np.ndarray) -> list[float]:
    return [float(f"{number:.9g}") for number in array.tolist()]


if __name__ == "__main__":
    main()
