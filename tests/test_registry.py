"""A real registry: what is pushed is pulled, once, whole, however often the wire breaks."""

import base64
import collections
import functools
import json
import re
import stat
import sys

import jax
import pytest
import tools
import tqdm
from parts import dense
from wires import Fake, Proxy, Receiver, answer, say

import lamda as lm
from lamda import errors
from lamda.cli import main
from lamda.store.remote import credentials, open_remote, transfer, upload, uploads
from lamda.store.remote import location as locations

WIDE = 300_000
zero = lm.fine_tune_head(dense(4, 8, 0, "body"), dense(8, 2, 1, "head"))
one = lm.succ(zero, jax.tree.map(lambda w: w + 1, zero.weights))
two = lm.succ(one, jax.tree.map(lambda w: w * 2, one.weights))


@pytest.fixture(autouse=True)
def no_login(tmp_path, monkeypatch):
    """The tests read no login of whoever runs them."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return tmp_path / "docker"


@pytest.fixture
def store(tmp_path):
    made = lm.Store(tmp_path / "store")
    made.put(one, ref="m")
    return made


@pytest.fixture
def url(host, request):
    """A repository of its own for each test."""
    return f"oci://{host}/{re.sub('[^a-z0-9]+', '-', request.node.name.lower()).strip('-')}"


def blobs(store):
    return {p.name: p.read_bytes() for p in store.path.glob("blobs/sha256/*")}


def wide(seed=0):
    """A model with a tensor of some megabytes."""
    return lm.fine_tune_head(dense(4, WIDE, seed, "wide"), dense(WIDE, 2, 1, "head"))


def long(seed=0):
    """A model with a tensor of more than two chunks of an upload."""
    return dense(5, 1_000_000, seed, "long")


def send(store, url, ref="m", depth=None):
    return transfer.push(store, transfer.opened(store, url), ref, depth)


def fetch(store, url, ref=None):
    return transfer.pull(store, transfer.opened(store, url), ref)


def test_a_lineage_is_pushed_and_pulled_byte_for_byte(store, url, tmp_path):
    moved = store.push(url, "m")
    assert (moved.versions, moved.skipped, moved.address) == (2, 0, one.address)
    other = lm.Store(tmp_path / "other")
    assert other.pull(f"{url}:m") == one.address
    assert blobs(other) == blobs(store)
    assert [v.who for v in other.log("m")] == [one.address, zero.address]
    assert other.get("m").address == one.address
    assert other.verify().clean


def test_a_second_push_and_a_second_pull_move_nothing(store, url, tmp_path):
    sent = send(store, url)
    assert sent.bytes > 0
    assert send(store, url) == transfer.Moved(url, "m", one.address, 0, 0, 0, 0)
    other = lm.Store(tmp_path / "other")
    fetch(other, f"{url}:m")
    again = fetch(other, f"{url}:m")
    assert (again.versions, again.blobs) == (0, 0)
    assert again.bytes == other.blobs.path(other.find("m")).stat().st_size  # the manifest


def test_a_successor_sends_what_changed(tmp_path, host, url):
    store, model = lm.Store(tmp_path / "store"), wide()
    store.put(model, ref="m")
    store.push(url, "m")
    store.put(lm.succ(model, jax.tree.map(lambda w: w + 1, model.weights)), ref="m")
    with Proxy(host) as proxy:
        moved = send(store, url.replace(host, proxy.host))
    changed = 4 * (2 + WIDE * 2)
    assert changed < moved.bytes < changed + 40_000
    assert changed < proxy.up < changed + 40_000  # with all that HTTP adds


def test_two_stores_exchange(store, url, tmp_path):
    store.push(url, "m")
    other = lm.Store(tmp_path / "other")
    other.pull(f"{url}:m")
    other.put(lm.succ(other.get("m"), two.weights), ref="m")
    other.push(url, "m")
    assert store.pull(f"{url}:m") == two.address
    assert len(store.log("m")) == 3
    # What is behind moves nothing back.
    store.push(f"{url}:old", "m")
    store.put(lm.succ(two, one.weights), ref="m")
    head = store.find("m")
    assert store.pull(f"{url}:m") == two.address
    assert store.find("m") == head


def test_a_tag_moves_along_the_lineage_alone(store, url, tmp_path):
    store.push(url, "m")
    other = lm.Store(tmp_path / "other")
    other.put(two, ref="mine")
    theirs = lm.Store(tmp_path / "theirs")
    theirs.put(lm.succ(zero, two.weights), ref="m")
    with pytest.raises(lm.SuccessionError, match="someone else has pushed. Pull it, put a success"):
        theirs.push(url, "m")
    with pytest.raises(lm.SuccessionError) as caught:
        theirs.pull(f"{url}:m")
    assert str(caught.value) == errors.NOT_AFTER.format(
        ref="m", head=theirs.get("m").address, new=one.address
    )
    assert open_remote(url, tmp_path).ref("m") == store.find("m")
    theirs.push(f"{url}:theirs", "m")
    remote = open_remote(url, tmp_path)
    assert remote.refs() == {"m": store.find("m"), "theirs": theirs.find("m")}
    with pytest.raises(lm.SuccessionError, match="was moved to .* while .* was sent: it stays"):
        remote.move("m", theirs.find("m"), expected=theirs.find("m"))


def test_every_version_has_a_tag(store, url, tmp_path):
    store.push(url, "m")
    for model in (zero, one):
        other = lm.Store(tmp_path / model.address[7:13])
        tag = f"v-{model.address[7:19]}"
        assert other.pull(f"{url}:{tag}") == model.address
        assert other.refs() == {}
        assert other.pull(f"{url}:{tag}", ref="kept") == model.address
        assert other.refs() == {"kept": model.address}
    digest = store.find("m")
    assert other.pull(f"{url}@{digest}", "by-digest") == one.address


def test_two_versions_of_one_address_are_both_kept(tmp_path, url):
    store = lm.Store(tmp_path / "store")
    store.put(zero, ref="a")
    store.put(lm.freeze(zero), ref="b")
    first, second = store.find("a"), store.find("b")
    assert first != second and zero.address == lm.freeze(zero).address
    store.push(url, "a")
    store.push(url, "b")
    short = f"v-{zero.address[7:19]}"
    remote = open_remote(url, tmp_path)
    assert remote.kept(first, zero.address) and remote.kept(second, zero.address)
    assert lm.Store(tmp_path / "c").pull(f"{url}:{short}-{second[7:19]}") == zero.address


def test_refs_with_folders(store, url, tmp_path):
    store.put(one, ref="team/a.b/m")
    store.push(url, "team/a.b/m")
    other = lm.Store(tmp_path / "other")
    other.pull(f"{url}:team..a.b..m")
    assert other.refs() == {"team/a.b/m": one.address}


@pytest.mark.parametrize("ref", ["m", "a/b", "a./b", "a/b/c.d-e_f", "v-1", "A/9"])
def test_tags_and_refs_are_one_to_one(ref):
    assert locations.ref_of(locations.tag_of(ref)) == ref


@pytest.mark.parametrize("ref", ["v-0123456789ab", "a" * 127 + "/b", "..", "a//b"])
def test_what_has_no_tag(ref):
    with pytest.raises(lm.SpecError) as caught:
        locations.tag_of(ref)
    assert str(caught.value) == errors.BAD_TAG.format(ref=ref)


def test_a_depth_sends_the_last_alone(store, url, tmp_path):
    assert send(store, url, depth=1).versions == 1
    with pytest.raises(lm.MissingError, match="has 1 versions of this lineage, and not sha256:"):
        lm.Store(tmp_path / "other").pull(f"{url}:m")
    assert send(store, url).versions == 1
    assert lm.Store(tmp_path / "other").pull(f"{url}:m") == one.address


def test_blobs_are_taken_from_another_repository(store, url):
    first, second = send(store, url), send(store, f"{url}/second")
    assert second.versions == first.versions and second.blobs == first.blobs
    assert second.bytes < 4000 < first.bytes  # manifests


def test_blobs_of_a_repository_that_lost_them_are_sent(store, url):
    store.push(url, "m")
    held = next(store.path.glob(".local/remotes/held-*"))
    held.write_text(re.sub(r" .*", " never/was/here", held.read_text()))
    assert send(store, f"{url}/second").bytes > 4000


# --- broken wires ---


@pytest.mark.parametrize("cut", [3_000_000, 8_388_609, 12_000_000, 19_999_000])
def test_a_dropped_upload_goes_on_inside_of_a_chunk(tmp_path, cut):
    store = lm.Store(tmp_path / "store")
    store.put(long(), ref="m")
    with Receiver(store, cut).running() as fake:
        store.push(f"oci://{fake.host}/m", "m")
    sizes = sum(map(len, fake.blobs.values()))
    assert fake.cut > cut  # it was cut
    assert fake.came == sizes and fake.begun == len(fake.blobs)  # and nothing came twice
    assert {d[7:]: data for d, data in fake.blobs.items()}.items() <= blobs(store).items()


@pytest.mark.parametrize("after", [3_000_000, 17_000_000])
def test_a_dropped_upload_arrives(tmp_path, host, url, after):
    # docker-registry 2.8 forgets an upload that broke inside of a chunk: that blob begins again.
    store = lm.Store(tmp_path / "store")
    store.put(long(), ref="m")
    size = sum(map(len, blobs(store).values()))
    with Proxy(host, drops=1, after=after) as proxy:
        store.push(url.replace(host, proxy.host), "m")
        assert proxy.drops <= 0
    assert proxy.up < size + after + 100_000
    assert lm.Store(tmp_path / "other").pull(f"{url}:m") == long().address


def test_a_later_push_goes_on(tmp_path, host, url, monkeypatch):
    store = lm.Store(tmp_path / "store")
    store.put(long(), ref="m")
    begun, counts = uploads.Uploads.begun, collections.Counter()

    def ended(self, digest, place):
        begun(self, digest, place)
        counts[digest] += 1
        if counts[digest] == 3:  # begun, a chunk, a chunk: as if the process ended here
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(uploads.Uploads, "begun", ended)
        with pytest.raises(KeyboardInterrupt):
            store.push(url, "m")
    (kept,) = store.path.glob(".local/remotes/upload-*")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    moved = send(lm.Store.open(store.path), url)
    assert moved.bytes <= sum(map(len, blobs(store).values())) - 2 * upload.CHUNK
    assert not [*store.path.glob(".local/remotes/upload-*")]
    assert lm.Store(tmp_path / "other").pull(f"{url}:m") == long().address


def test_an_upload_that_the_registry_has_forgotten_begins_again(tmp_path, host, store, url):
    remembered = uploads.Uploads(store.path / ".local" / "remotes", f"http://{url[6:]}".replace(
        host, f"{host}/v2"))  # fmt: skip
    for digest in store.closure(store.find("m")):
        remembered.begun(digest, f"http://{host}/v2/none/blobs/uploads/none?_state=x")
    assert send(store, url).versions == 2


def _only_first(proxy):
    """After the first drop every connection is dropped at once."""
    drop = proxy._drop

    def dropped():
        proxy.after = 0
        return drop()

    proxy._drop = dropped


def test_a_dropped_download_goes_on(tmp_path, host, url):
    store = lm.Store(tmp_path / "store")
    store.put(long(), ref="m")
    store.push(url, "m")
    size = sum(map(len, blobs(store).values()))
    other = lm.Store(tmp_path / "other")
    with Proxy(host, drops=2, after=7_000_000, way="down") as proxy:
        moved = fetch(other, url.replace(host, proxy.host) + ":m")
        assert proxy.drops <= 0
    assert moved.bytes == size
    assert blobs(other) == blobs(store)


def test_a_later_pull_goes_on(tmp_path, host, url):
    store = lm.Store(tmp_path / "store")
    store.put(long(), ref="m")
    store.push(url, "m")
    other = lm.Store(tmp_path / "other")
    with Proxy(host, drops=10**6, after=12_000_000, way="down") as proxy:
        _only_first(proxy)
        with pytest.raises(lm.RemoteError):
            other.pull(url.replace(host, proxy.host) + ":m")
    assert other.refs() == {} and other.versions() == {}
    (part,) = other.path.glob(".local/remotes/partial/*")
    came = part.stat().st_size
    assert came > 4_000_000
    moved = fetch(lm.Store.open(other.path), f"{url}:m")
    assert moved.bytes < sum(map(len, blobs(store).values())) - came + 10_000
    assert blobs(other) == blobs(store)


def test_a_part_that_was_changed_meanwhile_is_refused_once(tmp_path, store, url):
    store.push(url, "m")
    other = lm.Store(tmp_path / "other")
    digest = store.manifest(store.find("m"))["layers"][0]["digest"]
    partial = other.path / ".local" / "remotes" / "partial"
    partial.mkdir(parents=True)
    (partial / digest[7:]).write_bytes(b"other bytes")
    with pytest.raises(lm.StoreError, match="has another digest. Nothing of that was kept."):
        other.pull(f"{url}:m")
    assert other.pull(f"{url}:m") == one.address


def test_nobody_answers(store):
    url = f"oci://127.0.0.1:{tools.free_port()}/m"
    with pytest.raises(lm.RemoteError) as caught:
        store.push(url, "m")
    assert str(caught.value) == errors.REMOTE_SILENT.format(url=url, error="NewConnectionError")


# --- logins ---

HASH = "$2b$04$XvkiQKBVj92nPLUjJqqikec8efAjDa3lizLDLra82iAjaNe0uIKVG"  # of SECRET, by bcrypt
USER, SECRET = "ada", "open sesame"


def keep_login(directory, **config):
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))


def basic(user=USER, secret=SECRET):
    return {"auth": base64.b64encode(f"{user}:{secret}".encode()).decode()}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    directory = tmp_path_factory.mktemp("guarded")
    (directory / "passwords").write_text(f"{USER}:{HASH}\n")
    auth = f"auth: {{htpasswd: {{realm: r, path: {directory / 'passwords'}}}}}\n"
    with tools.registry(directory, auth) as host:
        yield host


def test_a_login_by_name_and_password(store, guarded, no_login, tmp_path):
    url = f"oci://{guarded}/m"
    told = errors.REMOTE_LOGIN.format(url=url, host=guarded)
    for auths in ({}, {guarded: basic(secret="wrong")}):
        keep_login(no_login, auths=auths)
        with pytest.raises(lm.StoreError) as caught:
            store.push(url, "m")
        assert str(caught.value) == told
    keep_login(no_login, auths={guarded: basic()})
    store.push(url, "m")
    assert lm.Store(tmp_path / "other").pull(f"{url}:m") == one.address


@pytest.mark.parametrize("key", ["credHelpers", "credsStore"])
def test_a_login_of_a_helper(store, guarded, no_login, tmp_path, monkeypatch, key):
    program = tmp_path / "bin" / "docker-credential-vault"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\nread host; [ $host = {guarded} ] || exit 1\n"
        f"""echo '{{"Username": "{USER}", "Secret": "{SECRET}"}}'\n"""
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    keep_login(no_login, **{key: {guarded: "vault"} if key == "credHelpers" else "vault"})
    with pytest.raises(lm.StoreError) as caught:
        store.push(f"oci://{guarded}/{key.lower()}", "m")
    assert str(caught.value) == errors.NO_LOGIN_HELPER.format(
        host=guarded, program="docker-credential-vault", why="FileNotFoundError"
    )
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    assert store.push(f"oci://{guarded}/{key.lower()}", "m").versions == 2


def test_a_login_that_can_not_be_read_is_not_shown(store, guarded, no_login):
    keep_login(no_login, auths={guarded: {"auth": "c2VjcmV0!"}})
    with pytest.raises(lm.StoreError) as caught:
        store.push(f"oci://{guarded}/m", "m")
    path = no_login / "config.json"
    assert str(caught.value) == errors.BAD_LOGIN.format(path=path, host=guarded, why="Error")
    assert "c2Vj" not in str(caught.value)


def test_no_login_is_shown():
    login = credentials.Credentials(USER, SECRET)
    assert SECRET not in repr(login) and USER not in repr(login)


def test_a_token_is_asked_for(store, no_login, tmp_path):
    with Fake(store).running() as fake:

        def token(handler):
            good = handler.headers.get("Authorization") == f"Basic {basic()['auth']}"
            answer(handler, say({"token": "abc"}), 200 if good else 401)

        def guarded(handler):
            if handler.headers.get("Authorization") == "Bearer abc":
                return fake.serve(handler)
            realm = f'Bearer realm="http://{fake.host}/token",service="s",scope="repository:m:pull"'
            answer(handler, b"", 401, WWW_Authenticate=realm)

        fake.answers = {"/token": token, "/v2/": guarded}
        other = lm.Store(tmp_path / "other")
        with pytest.raises(lm.StoreError, match="wants a login"):
            other.pull(f"oci://{fake.host}/m:m")
        keep_login(no_login, auths={fake.host: basic()})
        assert other.pull(f"oci://{fake.host}/m:m") == one.address
        (path,) = {p for _, p, _ in fake.asked if p.startswith("/token")}
        assert path == "/token?service=s&scope=repository%3Am%3Apull"


# --- registries that lie ---


@pytest.fixture
def fake(store):
    with Fake(store).running() as fake:
        yield fake


def refused(fake, tmp_path, error=lm.StoreError):
    """Pull into a new store; the message. Nothing is named there."""
    other = lm.Store(tmp_path / "other")
    with pytest.raises(error) as caught:
        other.pull(f"oci://{fake.host}/m:m")
    assert other.refs() == {} and other.versions() == {}
    for digest, data in blobs(other).items():
        other.blobs.check(f"sha256:{digest}", data)
    assert not [*other.path.glob(".local/remotes/partial/*")]
    return str(caught.value)


def layer(store, place=0):
    return store.manifest(store.find("m"))["layers"][place]


def test_other_bytes(fake, store, tmp_path):
    bad = layer(store)
    fake.answers[bad["digest"]] = lambda h: answer(h, b"x" * bad["size"])
    why = f"the blob {bad['digest']} that it sent has another digest"
    assert refused(fake, tmp_path) == errors.REMOTE_WRONG.format(
        url=f"oci://{fake.host}/m", why=why
    )


@pytest.mark.parametrize("extra, said", [(-1, "only "), (1, "more")])
def test_another_size(fake, store, tmp_path, extra, said):
    bad = layer(store)
    fake.answers[bad["digest"]] = lambda h: answer(h, b"x" * (bad["size"] + extra))
    told = refused(fake, tmp_path)
    assert f"should have {bad['size']:,} bytes, and it sent {said}" in told


def endless(handler):
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"x" * 65536)
    except OSError:
        handler.close_connection = True


def test_an_endless_blob(fake, store, tmp_path):
    fake.answers[layer(store)["digest"]] = endless
    assert "bytes, and it sent more" in refused(fake, tmp_path)


def test_an_endless_manifest(fake, tmp_path):
    fake.answers["/manifests/"] = endless
    assert "it sent more than 4,194,304 bytes where so many are the most" in refused(fake, tmp_path)


def changed(fake, store, **change):
    """The manifest with some fields changed."""
    data = say({**store.manifest(store.find("m")), **change})
    fake.answers["/manifests/m"] = lambda h: answer(h, data)


KINDS = {
    "it is an index of several manifests": {"manifests": [], "mediaType":
        "application/vnd.oci.image.index.v1+json"},
    "its media type is 'text/plain'": {"mediaType": "text/plain"},
    "it is a 'application/vnd.cncf.helm.chart'": {"artifactType":
        "application/vnd.cncf.helm.chart"},
    "it has a layer of the media type 'image/gif'": {"layers": [
        {"mediaType": "image/gif", "digest": "sha256:" + 64 * "0", "size": 1}]},
    "it is no JSON of a manifest": {"layers": 3},
}  # fmt: skip


@pytest.mark.parametrize("why", KINDS)
def test_what_is_no_model(fake, store, tmp_path, why):
    changed(fake, store, **KINDS[why])
    assert f"is no model of lamda: {why}. Nothing of it was kept." in refused(fake, tmp_path)


@pytest.mark.parametrize("digest", ["sha256:../../x", "sha256:" + 64 * "G", "md5:1", 7])
def test_paths_for_digests(fake, store, tmp_path, digest):
    found = store.manifest(store.find("m"))
    changed(fake, store, layers=[{**found["layers"][0], "digest": digest}])
    assert "is no digest: sha256: and 64 hexadecimal digits" in refused(fake, tmp_path)


def test_another_manifest_than_the_digest_that_was_asked_for(fake, store, tmp_path):
    data = say({**store.manifest(store.find("m")), "x": 1})
    fake.answers["/manifests/sha256:"] = lambda h: answer(h, data)
    with pytest.raises(lm.StoreError, match="that it sent has the digest sha256:"):
        lm.Store(tmp_path / "other").pull(f"oci://{fake.host}/m@{store.find('m')}")


def forged(tmp_path, change):
    """A store with a version whose record was changed, its digests made right."""
    store = lm.Store(tmp_path / "forged")
    store.put(zero, ref="m")
    manifest = json.loads(store.blobs.get(store.find("m")))
    record = json.loads(store.blobs.get(manifest["layers"][0]["digest"]))
    change(record, manifest)
    data = say(record)
    manifest["layers"][0] |= {"digest": store.blobs.put([data]), "size": len(data)}
    (store.path / "refs" / "m").write_text(store.blobs.put([say(manifest)]))
    return lm.Store(store.path)


def test_an_address_that_is_not_that_of_the_tensors(tmp_path):
    def lie(record, manifest):
        record["address"] = manifest["annotations"]["dev.lamda.address"] = one.address

    with Fake(forged(tmp_path, lie)).running() as fake:
        told = refused(fake, tmp_path)
    assert f"says that its address is {one.address}, and it is {zero.address}" in told


def test_tensors_that_are_not_what_the_record_says(tmp_path):
    def lie(record, manifest):
        first, second = record["slots"][0]["tensors"]
        first["digest"] = second["digest"]

    with Fake(forged(tmp_path, lie)).running() as fake:
        assert "is not what its digest says" in refused(fake, tmp_path)


def test_two_versions_before(tmp_path):
    def lie(record, manifest):
        manifest["annotations"]["dev.lamda.pred"] = "sha256:" + 64 * "1"

    with Fake(forged(tmp_path, lie)).running() as fake:
        assert "the version before it is None, and its manifest says" in refused(fake, tmp_path)


def test_a_login_is_not_sent_where_it_redirects(fake, store, no_login, tmp_path):
    keep_login(no_login, auths={fake.host: basic()})
    with Fake(store).running() as other:

        def redirected(handler):
            if "Authorization" not in handler.headers:
                return answer(handler, b"", 401, WWW_Authenticate='Basic realm="r"')
            target = f"http://{other.host}{handler.path}"
            answer(handler, b"", 307, Location=target)

        fake.answers["/blobs/"] = redirected
        assert lm.Store(tmp_path / "there").pull(f"oci://{fake.host}/m:m") == one.address
        assert other.asked
        assert not any("Authorization" in headers for _, _, headers in other.asked)


@pytest.mark.parametrize("target", ["ftp://x/y", "file:///etc/passwd"])
def test_redirects_to_what_is_not_https(fake, tmp_path, target):
    fake.answers["/blobs/"] = lambda h: answer(h, b"", 302, Location=target)
    assert f"it redirects to {target.replace('///', '//None/')}" in refused(fake, tmp_path)


def test_redirects_in_a_circle(fake, tmp_path):
    fake.answers["/blobs/"] = lambda h: answer(h, b"", 302, Location=h.path)
    assert "answered 302 to GET /v2/m/blobs/" in refused(fake, tmp_path)


def test_what_is_said_of_an_error(fake, tmp_path):
    said = say({"errors": [{"code": "DENIED", "message": "no \x1b[31mroom"}]})
    fake.answers["/manifests/"] = lambda h: answer(h, said, 400)
    assert refused(fake, tmp_path) == errors.REMOTE_REFUSED.format(
        url=f"oci://{fake.host}/m", status=400, what="GET /v2/m/manifests/m",
        said=": DENIED no [31mroom",
    )  # fmt: skip


def test_busy_registries_are_asked_again(fake, store, tmp_path):
    left = [503, 429, 500]

    def busy(handler):
        status = left.pop() if left else 200
        fake.serve(handler) if status == 200 else answer(handler, b"", status)

    fake.answers["/blobs/"] = busy
    assert lm.Store(tmp_path / "other").pull(f"oci://{fake.host}/m:m") == one.address
    assert left == []


# --- names and the command ---


@pytest.mark.parametrize(
    "url", ["ghcr.io/x", "oci://ghcr.io", "oci://ghcr.io/Upper", "oci://h/a:b:c", "ftp://h/a",
            "oci://user:secret@h/a", "oci://h/../a"],
)  # fmt: skip
def test_what_is_no_remote(store, url):
    with pytest.raises(lm.SpecError) as caught:
        store.push(url, "m")
    assert str(caught.value) == errors.BAD_REMOTE.format(url=url)


def test_http_is_for_this_machine_or_by_request():
    bases = {
        "oci://ghcr.io/a/b": "https://ghcr.io/v2/a/b",
        "oci://ghcr.io/a/b:t?insecure": "http://ghcr.io/v2/a/b",
        "oci://localhost/a": "http://localhost/v2/a",
        "oci://127.0.0.1:50/a": "http://127.0.0.1:50/v2/a",
        "oci://[::1]:50/a": "http://[::1]:50/v2/a",
        "oci://docker.io/library/a": "https://registry-1.docker.io/v2/library/a",
    }
    assert {url: locations.Location.parse(url).base for url in bases} == bases


def test_what_has_no_name(store, url):
    with pytest.raises(lm.SpecError) as caught:
        store.push(url, one.address[7:19])
    assert str(caught.value) == errors.PUSH_NAME.format(ref=one.address[7:19], url=url)
    with pytest.raises(lm.SpecError) as caught:
        store.pull(url)
    assert str(caught.value) == errors.PULL_NAME.format(url=url)
    with pytest.raises(lm.MissingError) as caught:
        store.pull(f"{url}:none")
    assert str(caught.value) == errors.NO_REMOTE_REF.format(ref="none", url=url)
    store.push(f"{url}:named", one.address[7:19])
    with pytest.raises(lm.SpecError) as caught:
        store.pull(f"{url}:named", ref="../up")
    assert str(caught.value) == errors.BAD_REF.format(ref="../up")


def test_the_commands(store, url, tmp_path, capsys):
    assert main(["push", "m", url, "--store", str(store.path), "--json"]) == 0
    sent = json.loads(capsys.readouterr().out)
    assert sent["versions"] == 2 and sent["skipped"] == 0 and sent["url"] == url
    other = str(tmp_path / "other")
    assert main(["pull", f"{url}:m", "--store", other, "--ref", "mine"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("mine: 2 versions, ") and captured.err == ""
    assert lm.Store.open(other).refs() == {"mine": one.address}
    assert main(["push", "m", "nowhere", "--store", str(store.path)]) == 1
    assert capsys.readouterr().err == f"lamda: {errors.BAD_REMOTE.format(url='nowhere')}\n"
    nowhere = tmp_path / "nowhere"
    assert main(["pull", "ftp://host/m", "--store", str(nowhere)]) == 1
    assert "s3://bucket/prefix" in capsys.readouterr().err and not nowhere.exists()


def test_json_is_all_that_a_script_sees(store, url, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(tqdm, "tqdm", functools.partial(_at_once, tqdm.tqdm))
    assert main(["push", "m", url, "--store", str(store.path)]) == 0
    told = capsys.readouterr()
    assert "push m: 100%" in told.err and "B/s" in told.err
    other = str(store.path.parent / "other")
    assert main(["pull", f"{url}:m", "--store", other, "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["address"] == one.address and told.err == ""


def _at_once(made, **options):
    return made(**(options | {"delay": 0}))
