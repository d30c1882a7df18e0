"""Property-based testing of compositions: strategies, laws, and what checks them.

It comes with the extra ``lamda[testing]``, and nothing else of lamda imports it.
"""

from lamda.testing.check import Outcome as Outcome
from lamda.testing.check import check_laws as check_laws
from lamda.testing.check import run as run
from lamda.testing.draw import Draw as Draw
from lamda.testing.draw import Subject as Subject
from lamda.testing.law import Law as Law
from lamda.testing.law import Suite as Suite
from lamda.testing.law import broken as broken
from lamda.testing.law import collect as collect
from lamda.testing.law import law as law
from lamda.testing.level import Level as Level
from lamda.testing.level import Tier as Tier
from lamda.testing.level import same as same
from lamda.testing.level import ulps as ulps
from lamda.testing.reference import reference as reference
from lamda.testing.source import source as source
from lamda.testing.strategies import arrays as arrays
from lamda.testing.strategies import closed as closed
from lamda.testing.strategies import combinators as combinators
from lamda.testing.strategies import dims as dims
from lamda.testing.strategies import given as given
from lamda.testing.strategies import inputs as inputs
from lamda.testing.strategies import models as models
from lamda.testing.strategies import primitives as primitives
from lamda.testing.strategies import terms as terms
from lamda.testing.strategies import types as types
from lamda.testing.strategies import weights as weights
from lamda.testing.strategies.ill import ill_typed as ill_typed
from lamda.testing.strategies.lineage import versions as versions
from lamda.testing.strategies.requests import requests as requests
from lamda.testing.strategies.spellings import regroupings as regroupings
from lamda.testing.strategies.stores import stores as stores
from lamda.testing.suites import SUITES as SUITES
