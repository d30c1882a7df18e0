"""Object stores: SeaweedFS by its S3, plain HTTP, a directory, and a server that does not obey."""

import functools
import hashlib
import http.server
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import obstore
import pytest
from parts import dense, rows

import lamda as lm
from lamda.cli import main
from lamda.store.remote import open_remote
from lamda.store.remote.mirror import Mirror
from lamda.store.remote.objects import Objects
from lamda.store.remote.pieces import Pieces

f, g = dense(4, 300, 0, "f"), dense(300, 2, 1, "g")
x = rows(3, 4)


def moved(model, by=1.0):
    return lm.succ(model, jax.tree.map(lambda w: w + by, model.weights))


def digest(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def forget(monkeypatch, tmp_path):
    """Another machine: nothing was fetched there yet."""
    count = iter(range(99))
    return lambda: monkeypatch.setenv("LAMDA_CACHE", str(tmp_path / f"other{next(count)}"))


def test_a_lineage_goes_there_and_comes_back(s3, forget, tmp_path):
    zero = f >> g
    two = moved(moved(zero))
    lm.Store(s3).put(two, ref="news")
    forget()
    store = lm.Store.open(s3)
    back = store.get("news")
    assert back.address == two.address
    jax.tree.map(np.testing.assert_array_equal, back.weights, two.weights)
    np.testing.assert_array_equal(back(x), store.get(two.address)(x))
    assert [v.who for v in store.log("news")] == [two.address, lm.pred(two).address, zero.address]
    assert lm.pred(lm.pred(back)).address == zero.address
    here = lm.Store(tmp_path / "here")
    here.put(two, ref="news")
    remote = Objects(s3)
    assert remote.refs() == {"news": here.find("news")} and remote.versions() == here.versions()
    for path in here.blobs.directory.iterdir():  # the same bytes under the same names
        assert b"".join(remote.get(f"sha256:{path.name}")) == path.read_bytes()


def test_push_and_pull(s3, tmp_path):
    here, there = lm.Store(tmp_path / "here"), lm.Store(tmp_path / "there")
    here.put(moved(f), ref="m")
    first = here.push(s3, "m")
    assert (first.versions, first.skipped, first.ref) == (2, 0, "m")
    again = here.push(s3, "m")
    assert (again.versions, again.blobs, again.bytes) == (0, 0, 0)
    assert there.pull(f"{s3}#m") == moved(f).address == there.resolve("m")
    assert there.find("m") == here.find("m") == Objects(s3).ref("m")
    names = [sorted(p.name for p in s.blobs.directory.iterdir()) for s in (here, there)]
    assert names[0] == names[1]
    before = there.closure(there.find("m"))
    there.put(moved(there.get("m")), ref="m")
    new = there.closure(there.find("m")).keys() - before.keys() - {there.find("m")}
    sent = there.push(f"{s3}#m", "m")
    assert (sent.versions, sent.blobs) == (1, len(new))
    here.put(moved(here.get("m"), 5.0), ref="m")
    with pytest.raises(lm.SuccessionError):
        here.push(s3, "m")


def test_signatures_go_along(s3, forget, tmp_path, capsys):
    assert main(["keygen", str(tmp_path / "k")]) == 0
    lm.Store(s3).put(f, ref="m")
    lm.Store(s3).sign("m", tmp_path / "k.key")
    forget()
    said = lm.Store(s3).signed("m", [tmp_path / "k.pub"])
    assert said["predicate"]["address"] == f.address
    here = lm.Store(tmp_path / "here")
    here.pull(f"{s3}#m")
    assert here.signed("m", [tmp_path / "k.pub"]) == said


def test_the_commands_work_on_a_url(s3, capsys):
    lm.Store(s3).put(moved(f), ref="m")
    assert main(["log", "m", "--store", s3]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [moved(f).address, f.address]
    assert main(["refs", "--store", s3]) == 0
    assert moved(f).address in capsys.readouterr().out


def test_what_is_there_is_an_oci_layout(s3):
    store = lm.Store(s3)
    address = store.put(f, ref="a/b")
    read = Objects(s3).bucket.read
    assert json.loads(read("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(read("index.json"))["manifests"]
    assert entry["annotations"] == {
        "org.opencontainers.image.ref.name": "a/b", "dev.lamda.address": address,
    }  # fmt: skip
    manifest = Objects(s3).manifest("a/b")
    assert (digest(manifest), len(manifest)) == (entry["digest"], entry["size"])


def test_only_what_is_missing_is_sent_and_fetched(s3, forget, monkeypatch):
    wide = lm.fine_tune_head(dense(4, 30000, 0, "wide"), dense(30000, 2, 1, "head"))
    lm.Store(s3).put(wide, ref="m")
    sent, got = [], []
    put, get = Objects.put, Objects.get
    monkeypatch.setattr(Objects, "put", lambda s, d, n, c: (sent.append(n), put(s, d, n, c))[1])
    monkeypatch.setattr(Objects, "get", lambda s, d, o=0: (got.append(d), get(s, d, o))[1])
    forget()
    store = lm.Store(s3)
    one = moved(store.get("m"))
    assert len(got) == len(set(got))
    store.put(one, ref="m")
    assert 8 * 30000 < sum(sent) < 8 * 30000 + 8000  # the head, a config and a manifest
    sent.clear(), got.clear()
    store.put(one, ref="m")
    store.put(one, ref="again")
    assert store.get("m").address == one.address
    assert (sent, got) == ([], [])


def test_a_large_blob_goes_in_parts_and_any_part_can_be_asked_for(s3):
    data = np.random.default_rng(0).bytes(20_000_001)
    remote = Objects(s3)
    remote.put(digest(data), len(data), Pieces(memoryview(data)))
    assert remote.sizes([digest(data), digest(b"no")]) == {digest(data): len(data)}
    assert b"".join(remote.get(digest(data), 19_000_000)) == data[19_000_000:]


@pytest.mark.parametrize("size", [100, 20_000_001])
def test_what_has_another_digest_is_not_kept_there(s3, size):
    remote = Objects(s3)
    with pytest.raises(lm.StoreError, match="bytes that should have the digest .*nothing was kept"):
        remote.put(digest(b"right"), size, [bytes(size)])
    assert not remote.has(digest(b"right"))


def test_of_two_writers_one_moves_a_ref(s3):
    remotes = [Objects(s3) for _ in range(8)]
    assert all(remote.many_writers for remote in remotes)
    new = [digest(bytes([n])) for n in range(8)]

    def move(n, expected):
        try:
            remotes[n].move("m", new[n], expected)
        except lm.SuccessionError as error:
            return str(error)

    head = None
    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            said = [*pool.map(lambda n: move(n, head), range(8))]  # noqa: B023
        movers = {n for n in range(8) if said[n] is None} - {head and new.index(head)}
        assert len(movers) == 1
        (winner,) = movers
        head = remotes[0].ref("m")
        assert head == new[winner]
    assert Objects(s3).bucket.list(".probe") == []


def test_a_ref_moves_to_a_successor_only(s3, forget):
    store = lm.Store(s3)
    store.put(f, ref="m")
    forget()
    other = lm.Store(s3)
    other.put(moved(f), ref="m")
    with pytest.raises(lm.SuccessionError, match="m is at .* is not its successor"):
        store.put(moved(f, 2.0), ref="m")
    assert store.get("m").address == moved(f).address
    with pytest.raises(lm.SpecError, match="'m/n' can not stand beside 'm'"):
        store.put(f, ref="m/n")


def test_a_ref_that_is_moved_meanwhile_stays(s3, monkeypatch):
    store, remote = lm.Store(s3), Objects(s3)
    store.put(f, ref="m")
    head, other = remote.ref("m"), digest(b"other")
    move = Objects.move
    assert head is not None
    monkeypatch.setattr(
        Objects, "move", lambda s, *a: (move(remote, "m", other, head), move(s, *a))
    )
    with pytest.raises(lm.SuccessionError) as error:
        store.put(moved(f), ref="m")
    new = store.versions()[moved(f).address[7:]][0]
    assert new and str(error.value) == (
        f"m of {s3} is at {other}, and not at {head}: it was moved meanwhile, and stays where it "
        "is. Pull it, put a successor of it, and push that."
    )


def test_a_server_that_ignores_conditions_is_found_out(monkeypatch):
    remote = Objects("memory://")
    put = obstore.put

    def careless(store, path, data, **options):
        return put(store, path, data, **(options | {"mode": "overwrite"}))

    monkeypatch.setattr(obstore, "put", careless)
    assert not remote.many_writers
    with pytest.warns(UserWarning, match="one writer at a time"):
        remote.move("m", digest(b"1"), None)
    with pytest.raises(lm.SuccessionError, match="it was moved meanwhile"):
        remote.move("m", digest(b"2"), digest(b"3"))


def test_a_directory_has_one_writer(tmp_path):
    remote = open_remote(f"file://{tmp_path}/store#m", tmp_path)
    assert isinstance(remote, Objects)
    assert (remote.name, remote.many_writers) == ("m", False)
    with pytest.warns(UserWarning, match="does not compare before it moves a ref"):
        Mirror(f"file://{tmp_path}/store", cache=tmp_path / "cache").put(moved(f), ref="m")
    assert lm.Store.open(tmp_path / "store").get("m").address == moved(f).address
    assert len(lm.Store.open(tmp_path / "store").log("m")) == 2


def test_wrong_bytes_there_are_refused(s3, forget, tmp_path):
    store = lm.Store(s3)
    store.put(f, ref="m")
    (blob,) = {t["blob"] for s in store.record("m")["slots"] for t in s["tensors"]}
    remote = Objects(s3)
    good = b"".join(remote.get(blob))
    wrong = {
        "another": (good[:-1] + b"\xff", "nothing was kept"),
        "short": (good[:-1], "nothing was kept"),
        "long": (good + bytes(1 << 20), "too many for what it should be"),
    }
    for bad, said in wrong.values():
        remote.bucket.write(f"blobs/sha256/{blob[7:]}", bad)
        forget()
        fresh = lm.Store(s3)
        with pytest.raises(lm.StoreError, match=said):
            fresh.get("m")
        assert not fresh.blobs.has(blob) and not [*fresh.path.rglob("*.tmp")]
    remote.bucket.write("refs/m", b"../../etc/passwd")
    with pytest.raises(lm.StoreError, match="refs/m is no ref: it holds '../../etc/passwd'"):
        store.get("m")


def test_a_lost_blob_is_sent_again(s3):
    store = lm.Store(s3)
    store.put(f, ref="m")
    (blob,) = {t["blob"] for s in store.record("m")["slots"] for t in s["tensors"]}
    obstore.delete(Objects(s3).bucket.objects, f"blobs/sha256/{blob[7:]}")
    fresh = Mirror(s3, cache=store.path.parent / "fresh")
    with pytest.raises(lm.MissingError, match=f"there is no {s3}/blobs/sha256/{blob[7:]}"):
        fresh.get("m")
    store.admit(store.find("m"), f.address)
    assert fresh.get("m").address == f.address


class Cutting(threading.Thread):
    """A proxy on loopback that cuts every connection after so many bytes of answer."""

    def __init__(self, port, after):
        super().__init__(daemon=True)
        self.to, self.after = port, after
        self.cut = 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def run(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client, socket.create_connection(("127.0.0.1", self.to)) as server:
            client.settimeout(10), server.settimeout(10)
            server.sendall(client.recv(1 << 16))
            left = self.after
            while left > 0 and (data := server.recv(min(left, 1 << 16))):
                client.sendall(data)
                left -= len(data)
            self.cut += left == 0


def served(folder):
    quiet = type("Quiet", (Ranged,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(quiet, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Ranged(http.server.SimpleHTTPRequestHandler):
    """Plain files, and what of them is asked for: the module of Python knows no ranges."""

    protocol_version = "HTTP/1.0"

    def send_head(self):
        asked = self.headers.get("Range")
        if asked is None:
            return super().send_head()
        file = open(self.translate_path(self.path), "rb")  # noqa: SIM115
        start, size = int(asked.removeprefix("bytes=").split("-")[0]), file.seek(0, 2)
        file.seek(start)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        return file


@pytest.fixture
def web(tmp_path):
    store = lm.Store(tmp_path / "store")
    store.put(moved(lm.fine_tune_head(dense(4, 500_000, 0, "wide"), dense(500_000, 1))), ref="m")
    server = served(store.path)
    yield store, server.server_port
    server.shutdown()
    server.server_close()


def test_a_directory_behind_plain_http_is_read(web, tmp_path):
    store, port = web
    url = f"http://127.0.0.1:{port}"
    mirror = Mirror(url, cache=tmp_path / "cache")
    assert mirror.refs() == store.refs()
    assert mirror.get("m").address == mirror.get(store.resolve("m")).address == store.resolve("m")
    assert len(mirror.log("m")) == 2
    with pytest.raises(lm.SpecError, match="is only read: plain HTTP has no way to move a ref"):
        mirror.put(f, ref="new")


def test_a_connection_that_breaks_is_taken_up_again(web, tmp_path):
    store, port = web
    proxy = Cutting(port, 1_500_000)
    proxy.start()
    mirror = Mirror(f"http://127.0.0.1:{proxy.port}", cache=tmp_path / "cache")
    back = mirror.get("m")
    np.testing.assert_array_equal(back(x), store.get("m")(x))
    assert proxy.cut >= 4  # 8 MB came in pieces of 1.5
    proxy.socket.close()


def test_a_server_that_is_gone(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    remote = Objects(f"http://127.0.0.1:{port}", retry_config={"max_retries": 0})
    with pytest.raises(ConnectionError, match=f"http://127.0.0.1:{port}/refs/m: .*Nothing is lost"):
        remote.ref("m")


def test_what_is_no_url():
    with pytest.raises(lm.SpecError, match="'ftp://host' is no URL of a remote with objects"):
        lm.Store("ftp://host")
    with pytest.raises(lm.SpecError, match="'../m' is no name for a ref"):
        Objects("memory://").move("../m", digest(b""), None)
