"""The store is a dictionary: of versions by address, and of addresses by ref."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lamda import errors
from lamda.testing.draw import Draw
from lamda.testing.law import Suite, law
from lamda.testing.level import Level
from lamda.testing.play import STEPS, Play


@law("whatever is done to a store, it is the dictionary that the same was done to", Level.ADDRESS)
def a_store_is_a_dictionary(draw: Draw) -> Any:
    play = Play(draw, draw.subject.models)
    steps = draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=8), "steps")
    try:
        for step in steps:
            step(play)
            play.compare()
    except errors.LawError as error:
        done = ", ".join(s.__name__ for s in steps)
        a_store_is_a_dictionary.require(False, f"After some of {done}: {error}")


STORE = Suite("store", (a_store_is_a_dictionary,))


class StoreMachine(RuleBasedStateMachine):
    """The same steps as a state machine of Hypothesis: ``TestStore = StoreMachine.TestCase``."""

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """A store that is empty."""
        self.play = Play(data.draw)

    @rule(data=st.data(), step=st.sampled_from(STEPS))
    def step(self, data: st.DataObject, step: Any) -> None:
        """One step."""
        self.play.choose = data.draw
        step(self.play)

    @invariant()
    def compare(self) -> None:
        """The store and the dictionary are one."""
        if hasattr(self, "play"):
            self.play.compare()
