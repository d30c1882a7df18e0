"""Registries that lie, stall or go in circles, and logins that are asked for in every form."""

import hashlib
import json
import socket
import stat
import threading
import time
import urllib.request

import jax
import pytest
import tools
from parts import dense
from wires import Fake, Receiver, answer, say

import lamda as lm
from lamda import errors
from lamda.store import media
from lamda.store.remote import arrival, connection, credentials, location, open_remote, upload, wire
from lamda.store.remote.progress import Progress

zero = lm.fine_tune_head(dense(4, 8, 0, "body"), dense(8, 2, 1, "head"))
one = lm.succ(zero, jax.tree.map(lambda w: w + 1, zero.weights))
USER, SECRET = "ada", "open sesame"


@pytest.fixture(autouse=True)
def no_login(tmp_path, monkeypatch):
    """The tests read no login of whoever runs them."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return tmp_path / "docker"


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """What is tried again is tried soon."""
    for module in (arrival, upload):
        monkeypatch.setattr(module, "_PAUSE", 0.01)


@pytest.fixture
def store(tmp_path):
    made = lm.Store(tmp_path / "store")
    made.put(one, ref="m")
    return made


@pytest.fixture
def fake(store):
    with Fake(store).running() as fake:
        yield fake


@pytest.fixture
def other(tmp_path):
    return lm.Store(tmp_path / "other")


def keep_login(directory, **config):
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))


def login(user=USER, secret=SECRET):
    return {"auth": credentials.Credentials(user, secret).basic.removeprefix("Basic ")}


# --- time ---


def drip(handler):
    """An answer that never ends, a byte at a time."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(1 << 20))
    handler.end_headers()
    handler.close_connection = True
    try:
        while True:
            handler.wfile.write(b"{")
            time.sleep(0.05)
    except OSError:
        return


@pytest.mark.parametrize("end", ["/manifests/", "/blobs/"])
def test_a_registry_that_drips_is_left(fake, other, monkeypatch, end):
    monkeypatch.setattr(connection, "PATIENCE", 0.3)
    fake.answers[end] = drip
    began = time.monotonic()
    with pytest.raises(lm.RemoteError, match="can not be reached, or breaks off: TimeoutError"):
        other.pull(f"oci://{fake.host}/m:m")
    assert time.monotonic() - began < 20


def test_a_registry_can_not_make_us_wait_for_years(fake, other, monkeypatch):
    monkeypatch.setattr(connection, "LONGEST_WAIT", 0.1)
    left = [503, 429]

    def busy(handler):
        if left:
            return answer(handler, b"", left.pop(), Retry_After="999999")
        fake.serve(handler)

    fake.answers["/manifests/"] = busy
    assert other.pull(f"oci://{fake.host}/m:m") == one.address
    assert left == []


def test_a_busy_registry_is_given_the_time_that_it_asks_for(fake, other):
    times = []

    def busy(handler):
        times.append(time.monotonic())
        if len(times) == 1:
            return answer(handler, b"", 429, Retry_After="1")
        fake.serve(handler)

    fake.answers["/blobs/"] = busy
    assert other.pull(f"oci://{fake.host}/m:m") == one.address
    assert times[1] - times[0] >= 1


class Slow(threading.Thread):
    """Takes bytes at a slow and steady rate, and never answers."""

    def __init__(self, rate):
        super().__init__(daemon=True)
        self.rate, self.took = rate, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        self.port = self.listener.getsockname()[1]

    def run(self):
        client, _ = self.listener.accept()
        with client:
            while data := client.recv(self.rate // 20):
                self.took += len(data)
                time.sleep(len(data) / self.rate)
                if self.took > 6 << 20:
                    client.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
                    return


def test_a_slow_wire_is_none_that_is_broken(monkeypatch):
    # Less than a piece of 1 MiB goes by in the time that a connection may stand still.
    monkeypatch.setattr(connection, "CONNECT", 0.5)
    slow = Slow(rate=1_500_000)
    slow.start()
    place = location.Location.parse(f"oci://127.0.0.1:{slow.port}/m")
    data = memoryview(bytes((6 << 20) + 1))
    found = wire.Wire(place).ask(
        "PUT", place.base, (201,), {"Content-Length": str(len(data))},
        lambda: iter([data]), again=False,
    )  # fmt: skip
    assert found.status == 201
    slow.listener.close()


class Forgetful(Receiver):
    """A registry that forgets an upload whose second chunk has begun; every time."""

    def serve(self, handler):
        if "/uploads/" in handler.path and handler.command == "GET":
            return answer(handler, b"", 404)
        if handler.command == "PATCH" and len(self._upload) >= upload.CHUNK:
            self.came, self.cut = 0, 1000
        super().serve(handler)


def test_an_upload_that_always_breaks_comes_to_an_end(tmp_path):
    store = lm.Store(tmp_path / "long")
    store.put(dense(5, 1_000_000, 0, "long"), ref="m")
    with Forgetful(store, 1 << 60).running() as fake:
        with pytest.raises(lm.RemoteError, match="can not be reached, or breaks off"):
            store.push(f"oci://{fake.host}/m", "m")
        assert fake.begun <= 2 * connection.TRIES


# --- what can not be a URL, a number or a page ---


@pytest.mark.parametrize("target", ["http://[", "http://x:port/", "//[::1/x"])
def test_a_redirect_that_is_no_url(fake, other, target):
    fake.answers["/blobs/"] = lambda h: answer(h, b"", 307, Location=target)
    with pytest.raises(lm.StoreError, match="does what no registry should"):
        other.pull(f"oci://{fake.host}/m:m")


@pytest.mark.parametrize("target", ["http://[", "http://x:port/"])
def test_an_upload_that_goes_on_at_no_url(store, target):
    with Receiver(store, 1 << 60).running() as fake:
        fake.answers["/uploads/"] = lambda h: answer(h, b"", 202, Location=target)
        with pytest.raises(lm.StoreError, match="does what no registry should"):
            store.push(f"oci://{fake.host}/m", "m")


def test_a_login_at_no_url(fake, other):
    told = 'Bearer realm="http://[",service="s"'
    fake.answers["/v2/"] = lambda h: answer(h, b"", 401, WWW_Authenticate=told)
    with pytest.raises(lm.StoreError, match="does what no registry should"):
        other.pull(f"oci://{fake.host}/m:m")


def test_a_size_of_five_thousand_digits(fake, tmp_path):
    def huge(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "9" * 5000)
        handler.end_headers()

    fake.answers["/blobs/"] = huge
    remote = open_remote(f"oci://{fake.host}/m", tmp_path)
    assert remote.sizes(["sha256:" + 64 * "0"]) == {}


def test_a_digest_of_what_is_not_there(fake, tmp_path):
    fake.answers["/manifests/"] = lambda h: answer(h, b"", 404, digest="sha256:" + 64 * "0")
    assert open_remote(f"oci://{fake.host}/m", tmp_path).ref("m") is None


@pytest.fixture
def lying(fake, store):
    data = store.blobs.get(store.find("m")) + b" "
    said = store.find("m")
    fake.answers["/manifests/m"] = lambda h: answer(h, data, digest=said)


def test_a_manifest_that_is_not_what_it_is_called(fake, lying, other):
    with pytest.raises(lm.StoreError, match="it calls the manifest sha256:"):
        other.pull(f"oci://{fake.host}/m:m")
    assert other.refs() == {} and other.versions() == {}


@pytest.mark.parametrize("name", ["a/../b", "a//b", "a..b", "a/-b", "a-/b", "a_._b"])
def test_a_repository_stays_where_it_is(store, name):
    with pytest.raises(lm.SpecError, match="is no remote"):
        store.push(f"oci://127.0.0.1:1/{name}", "m")


@pytest.mark.parametrize("name", ["a/b", "a__b", "a--b/c", "a.b_c/d-e"])
def test_what_a_repository_may_be_called(name):
    assert location.Location.parse(f"oci://h/{name}").repository == name


def test_tags_come_in_pages(store, fake, tmp_path):
    names = [f"t{n}" for n in range(7)]

    def page(handler):
        last = handler.path.partition("last=")[2].partition("&")[0]
        start = names.index(last) + 1 if last else 0
        some = names[start : start + 3]
        more = {}
        if start + 3 < len(names):
            more = {"Link": f'</v2/m/tags/list?last={some[-1]}&n=3>; rel="next"'}
        answer(handler, say({"name": "m", "tags": some}), **more)

    head = store.find("m")
    fake.answers = {
        "/tags/list": page,
        "/manifests/t": lambda h: answer(h, store.blobs.get(head), digest=head),
    }
    assert open_remote(f"oci://{fake.host}/m", tmp_path).refs() == dict.fromkeys(names, head)


def test_pages_in_a_circle(fake, tmp_path):
    link = '</v2/m/tags/list?last=a>; rel="next"'
    fake.answers["/tags/list"] = lambda h: answer(h, say({"tags": ["a"]}), Link=link)
    with pytest.raises(lm.StoreError, match="lists its tags in a circle"):
        open_remote(f"oci://{fake.host}/m", tmp_path).refs()


def test_pages_of_another_host(fake, tmp_path):
    link = '<http://127.0.0.2:1/v2/m/tags/list>; rel="next"'
    fake.answers["/tags/list"] = lambda h: answer(h, say({"tags": []}), Link=link)
    with pytest.raises(lm.StoreError, match="lists its tags"):
        open_remote(f"oci://{fake.host}/m", tmp_path).refs()


# --- what is pushed over nothing ---


def test_a_tag_of_another_kind_is_not_overwritten(store, host, tmp_path):
    """An index of images is no model; a registry hides it from who does not accept one."""
    url = f"oci://{host}/taken"
    store.push(f"{url}:mine", "m")
    manifest = store.find("m")
    entry = {"mediaType": media.MANIFEST, "digest": manifest, "size": 1,
             "platform": {"architecture": "amd64", "os": "linux"}}  # fmt: skip
    index = {"schemaVersion": 2, "mediaType": media.INDEX, "manifests": [entry]}
    data = say(index)
    request = urllib.request.Request(
        f"http://{host}/v2/taken/manifests/m", data, {"Content-Type": media.INDEX}, method="PUT"
    )
    urllib.request.urlopen(request, timeout=10).close()
    with pytest.raises(lm.SuccessionError, match=hashlib.sha256(data).hexdigest()):
        store.push(url, "m")
    with pytest.raises(lm.StoreError, match="it is an index of several manifests"):
        lm.Store(tmp_path / "pulled").pull(f"{url}:m")


class Comparing(Receiver):
    """A registry that keeps to conditions; ``lost`` answers are lost after the work was done."""

    def __init__(self, store, lost=0):
        super().__init__(store, 1 << 60)
        self.lost = lost

    def serve(self, handler):
        path, held = handler.path, handler.headers
        name = path.rsplit("/", 1)[1]
        if handler.command != "PUT" or "/manifests/" not in path or name.startswith("v-"):
            return super().serve(handler)
        data = self._body(handler)
        old = self.manifests.get(name)
        mark = old and f'"sha256:{hashlib.sha256(old).hexdigest()}"'
        wanted = None if held.get("If-None-Match") == "*" else held.get("If-Match")
        if wanted != mark:
            return answer(handler, b"", 412)
        self.manifests[name] = data
        self.manifests[f"sha256:{hashlib.sha256(data).hexdigest()}"] = data
        self.lost -= 1
        answer(handler, b"", 503 if self.lost >= 0 else 201)


def test_a_registry_that_compares_is_believed(store, tmp_path):
    with Comparing(store).running() as fake:
        url = f"oci://{fake.host}/m"
        store.push(url, "m")
        first = store.find("m")
        remote = open_remote(url, tmp_path)
        store.put(lm.succ(one, zero.weights), ref="m")
        store.push(f"{url}:aside", "m")
        seen = remote.ref
        # Between the look and the put somebody else moves it.
        remote.ref = lambda name: (seen(name), fake.manifests.update(m=b"{}"))[0]
        with pytest.raises(lm.SuccessionError) as caught:
            remote.move("m", store.find("m"), first)
        there = f"sha256:{hashlib.sha256(b'{}').hexdigest()}"
        assert f"was moved to {there} while" in str(caught.value)
        assert fake.manifests["m"] == b"{}"


def test_a_move_whose_answer_was_lost_is_no_race(store):
    with Comparing(store, lost=1).running() as fake:
        assert store.push(f"oci://{fake.host}/m", "m").versions == 2
        assert fake.lost == 0


def test_this_registry_does_not_compare(store, host):
    """What docs/store.md says of docker-registry: one writer at a time."""
    store.push(f"oci://{host}/compare", "m")
    data = store.blobs.get(store.find("m"))
    for held in ({"If-None-Match": "*"}, {"If-Match": '"sha256:' + 64 * "0" + '"'}):
        request = urllib.request.Request(
            f"http://{host}/v2/compare/manifests/m", data,
            {"Content-Type": media.MANIFEST, **held}, method="PUT",
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=10) as found:
            assert found.status == 201


class Guarded(Receiver):
    """A registry that does not let anyone look into another repository."""

    def serve(self, handler):
        if "from=" in handler.path:
            return answer(handler, b"", 403)
        super().serve(handler)


def test_a_repository_that_may_not_be_looked_into_is_not_needed(store):
    with Guarded(store, 1 << 60).running() as fake:
        for name in store.closure(store.find("m")):
            held = store.path / ".local" / "remotes"
            held.mkdir(parents=True, exist_ok=True)
            host = hashlib.sha256(fake.host.encode()).hexdigest()[:16]
            with open(held / f"held-{host}", "a") as file:
                file.write(f"{name} not/for/you\n")
        assert store.push(f"oci://{fake.host}/m", "m").versions == 2


def test_absurd_sizes_are_refused_before_they_come(fake, store, other):
    manifest = store.manifest(store.find("m"))
    huge = {**manifest["layers"][-1], "digest": "sha256:" + 64 * "1", "size": 1 << 60}
    data = say({**manifest, "layers": [*manifest["layers"], huge]})
    fake.answers["/manifests/m"] = lambda h: answer(h, data)
    with pytest.raises(lm.DiskError, match="needs 1,152,921,504,6.* bytes more, and there are"):
        other.pull(f"oci://{fake.host}/m:m")
    assert not [path for _, path, _ in fake.asked if huge["digest"] in path]
    assert other.refs() == {}


def test_nobody_answers_for_the_tag_of_a_version(store, other):
    url = f"oci://127.0.0.1:{tools.free_port()}/m"
    with pytest.raises(lm.RemoteError) as caught:
        other.pull(f"{url}:v-0123456789ab")
    assert str(caught.value) == errors.REMOTE_SILENT.format(url=url, error="NewConnectionError")


# --- logins ---

CHALLENGES = {
    "two at once": 'Bearer realm="{at}",service="s",scope="x", Basic realm="r"',
    "the other first": 'Basic realm="r", Bearer realm="{at}",service="s",scope="x"',
    "without quotes": 'Bearer realm="{at}", service=s, scope=x',
    "in capitals": 'BEARER Realm="{at}",Service="s",Scope="x"',
}


@pytest.mark.parametrize("form", CHALLENGES)
def test_how_a_token_may_be_asked_for(fake, other, no_login, form):
    keep_login(no_login, auths={fake.host: login()})

    def token(handler):
        good = handler.headers.get("Authorization") == f"Basic {login()['auth']}"
        good = good and handler.path == "/token?service=s&scope=x"
        answer(handler, say({"token": "abc"}), 200 if good else 401)

    def guarded(handler):
        if handler.headers.get("Authorization") == "Bearer abc":
            return fake.serve(handler)
        told = CHALLENGES[form].format(at=f"http://{fake.host}/token")
        answer(handler, b"", 401, WWW_Authenticate=told)

    fake.answers = {"/token": token, "/v2/": guarded}
    assert other.pull(f"oci://{fake.host}/m:m") == one.address


def test_an_identity_token_is_sent_with_a_client(fake, other, no_login):
    keep_login(no_login, auths={fake.host: {**login("", ""), "identitytoken": "long"}})
    asked = []

    def token(handler):
        asked.append(handler.rfile.read(int(handler.headers["Content-Length"])).decode())
        answer(handler, say({"access_token": "abc"}))

    def guarded(handler):
        if handler.headers.get("Authorization") == "Bearer abc":
            return fake.serve(handler)
        realm = f'Bearer realm="http://{fake.host}/token",service="s"'
        answer(handler, b"", 401, WWW_Authenticate=realm)

    fake.answers = {"/token": token, "/v2/": guarded}
    assert other.pull(f"oci://{fake.host}/m:m") == one.address
    said = "grant_type=refresh_token&refresh_token=long&client_id=lamda&service=s"
    assert asked == [said]


def test_many_at_once_log_in(fake, no_login, tmp_path):
    """Whoever is told to log in while another does goes on with what the other got."""
    keep_login(no_login, auths={fake.host: login()})
    gate = threading.Barrier(8)

    def guarded(handler):
        if "Authorization" in handler.headers:
            return answer(handler, b"1234")
        gate.wait(10)
        answer(handler, b"", 401, WWW_Authenticate='Basic realm="r"')

    fake.answers["/v2/"] = guarded
    digests = [f"sha256:{n:064x}" for n in range(8)]
    remote = open_remote(f"oci://{fake.host}/m", tmp_path)
    assert remote.sizes(digests) == dict.fromkeys(digests, 4)


@pytest.mark.parametrize("said", ["{}", "[]", "no JSON", '{"Username": "ada"}'])
def test_a_helper_that_says_nothing_of_use(fake, other, no_login, tmp_path, monkeypatch, said):
    program = tmp_path / "bin" / "docker-credential-odd"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat > /dev/null\necho '{said}'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    keep_login(no_login, credHelpers={fake.host: "odd"})
    fake.answers["/v2/"] = lambda h: answer(h, b"", 401, WWW_Authenticate='Basic realm="r"')
    with pytest.raises(lm.StoreError, match=f"says of the login at {fake.host} can not be read"):
        other.pull(f"oci://{fake.host}/m:m")


@pytest.mark.parametrize("key", ["{0}", "https://{0}", "http://{0}/", "https://{0}/v2/"])
def test_how_a_login_may_be_kept(no_login, key):
    keep_login(no_login, auths={key.format("h.io:5000"): login(), "h.io": login("eve")})
    found = credentials.find("h.io:5000")
    assert found is not None and found.user == USER


def test_a_config_that_is_no_file(no_login):
    (no_login / "config.json").mkdir(parents=True)
    with pytest.raises(lm.StoreError, match="can not be read"):
        credentials.find("h.io")


def test_what_is_on_this_machine_is_not_sent_through_a_proxy(fake, other, no_login, monkeypatch):
    keep_login(no_login, auths={fake.host: login()})
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Fake(fake.store).running() as proxy:
        monkeypatch.setenv("http_proxy", f"http://{proxy.host}")
        assert other.pull(f"oci://{fake.host}/m:m") == one.address
        assert proxy.asked == []


# --- what people see ---


@pytest.mark.parametrize("url", ["nowhere", "ftp://h/a", "oci://Upper/CASE"])
def test_every_kind_of_remote_is_named(store, url):
    with pytest.raises(lm.SpecError) as caught:
        store.push(url, "m")
    for kind in ("oci://host[:port]/repository[:tag]", "s3://", "gs://", "az://", "https://",
                 "file:///"):  # fmt: skip
        assert kind in str(caught.value)


def test_a_bar_tells_bytes_and_rate(monkeypatch, capsys):
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress("push m", 3 << 20, delay=0) as bar:
        threads = [threading.Thread(target=lambda: bar.tell(1 << 20)) for _ in range(3)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        bar.tell(0)
    told = capsys.readouterr().err
    assert bar.done == 3 << 20
    assert "push m: 100%" in told and "3.00M/3.00M" in told and "B/s" in told
    with Progress("push m", 3 << 20, show=False) as bar:
        bar.tell(1)
    assert capsys.readouterr().err == ""
