"""Combinators: models from models. Each is a few lines over the primitive nodes."""

from lamda.combinators.branch import branch as branch
from lamda.combinators.compose import compose as compose
from lamda.combinators.compose import identity as identity
from lamda.combinators.fine_tune_head import fine_tune_head as fine_tune_head
from lamda.combinators.freeze import freeze as freeze
from lamda.combinators.pick import pick as pick
