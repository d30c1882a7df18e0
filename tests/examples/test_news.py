"""The main job, end to end, on fewer texts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("news")


@pytest.fixture(scope="module")
def said(out):
    command = [sys.executable, str(ROOT / "examples" / "news.py"), "--small", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_encoder_runs_once(said):
    found = re.findall(r"has (\d+) matrix products, an encoder has (\d+)", said)
    both, encoder = map(int, found[0])
    assert encoder >= 6
    assert both == encoder + 2


def test_it_learns(said):
    topic, _, sentiment, _ = map(float, re.findall(r"(?:held out|regression): (\d\.\d+)", said))
    assert topic > 0.85
    assert sentiment > 0.6


def test_versions_are_kept(said):
    assert "version zero: True" in said and "succ(zero, heads) is one: True" in said
    heads, whole = (int(n.replace(",", "")) for n in re.findall(r"adds +([\d,]+) bytes", said))
    assert heads < 25_000 < 90_000_000 < whole


def test_it_is_served_as_in_this_process(said):
    assert re.search(r"^   business +\w+ +Shares in the airline", said, re.M)
    assert re.search(r"^   sport\w* +\w+ +The striker", said, re.M)
    assert re.search(r"^   \w+ +negative +A tedious, badly acted film", said, re.M)
    assert "as in this process, to within 1e-05" in said
    served, plain = map(
        float, re.findall(r"first answer: ([\d.]+) s \(plain jax.jit: ([\d.]+)", said)[0]
    )
    assert served > 0 and plain > 0


def test_a_third_version_moves_the_heads_alone(said):
    third = said[said.index("7. A third version") :]
    assert "0 executables compiled, 9,344 bytes written" in third
    assert int(re.findall(r"([\d,]+) bytes added", third)[0].replace(",", "")) < 25_000


def test_the_picture_can_be_opened(said, out):
    from xml.etree import ElementTree

    assert ElementTree.parse(out / "news.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_the_command_reads_what_it_wrote(said, out):
    store = ["--store", str(out / "store")]
    log = subprocess.run(["lamda", "log", "news", *store], capture_output=True, text=True,
                         check=True, env={"PATH": str(Path(sys.executable).parent)})  # fmt: skip
    assert len(log.stdout.splitlines()) == 3
