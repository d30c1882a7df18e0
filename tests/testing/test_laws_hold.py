"""Every law holds of the language, of a model, and of a combinator.

``LAWS=100 pytest tests/testing/test_laws_hold.py``, or ``make laws``, looks at more examples.
"""

import os

import jax.numpy as jnp
from parts import dense

import lamda as lm
from lamda.testing import Suite, Tier, check_laws, collect
from lamda.testing.suites import COMBINATOR, OPT_IN, SUITES

EXAMPLES = int(os.environ.get("LAWS", "10"))

ALL = collect(SUITES.values())
CHEAP = Suite("cheap", tuple(law for law in ALL if law.tier is not Tier.XLA))
COMPILED = Suite("compiled", tuple(law for law in ALL if law.tier is Tier.XLA))
OF_ONE = Suite("of one", tuple(law for n, s in SUITES.items() if n not in OPT_IN for law in s.laws
                               if law in CHEAP.laws))  # fmt: skip

f, g = dense(4, 4, 0, "f"), dense(4, 2, 1, "g")

test_laws_of_the_language = check_laws(suites=[CHEAP], examples=EXAMPLES)
test_laws_of_compiling = check_laws(suites=[COMPILED], examples=max(1, EXAMPLES // 10))
test_laws_of_a_model = check_laws(
    lm.freeze(f) >> lm.lift(jnp.tanh) >> lm.branch(g, f), suites=[OF_ONE], examples=1
)
test_laws_of_a_combinator = check_laws(lm.residual, suites=[COMBINATOR], examples=5)
