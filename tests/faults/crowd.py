"""A crowd: eight writers, readers and a collector for a minute; nothing is lost or torn."""

import os

from parts import dense
from store_faults import campaign

import lamda as lm

SECONDS = float(os.environ.get("SECONDS_LONG", "60"))


def test_a_crowd(tmp_path, capsys):
    store = lm.Store(tmp_path / "store")
    store.put(dense(4, 8, 0, "f"), ref="shared")
    done = campaign(store.path, seconds=SECONDS, writers=8)
    with capsys.disabled():
        print(f"\n{done['put']} versions, {done['read']} read, {done['collected']} collected")
    assert done["errors"] == []
    store.forget()
    for ref, put in done["acknowledged"].items():
        assert [version.who for version in store.log(ref)][: len(put)] == put[::-1], ref
    assert store.verify().clean
