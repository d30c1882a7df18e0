"""Strategies: models and values, drawn by Hypothesis."""

from lamda.testing.strategies.close import closed as closed
from lamda.testing.strategies.close import weights as weights
from lamda.testing.strategies.primitives import primitives as primitives
from lamda.testing.strategies.printed import register as _register
from lamda.testing.strategies.requests import requests as requests
from lamda.testing.strategies.stores import stores as stores
from lamda.testing.strategies.terms import combinators as combinators
from lamda.testing.strategies.terms import given as given
from lamda.testing.strategies.terms import models as models
from lamda.testing.strategies.terms import terms as terms
from lamda.testing.strategies.types import arrays as arrays
from lamda.testing.strategies.types import dims as dims
from lamda.testing.strategies.types import inputs as inputs
from lamda.testing.strategies.types import types as types

_register()
