"""lamda: a functional language for composing neural models.

A model is a pure function with weights. Compose models like functions, address them by content,
compile the composition with XLA, deploy it as a stateless handler.
"""

import lamda.pytree as _pytree  # noqa: F401 - models become pytrees
from lamda.combinators import branch as branch
from lamda.combinators import compose as compose
from lamda.combinators import fine_tune_head as fine_tune_head
from lamda.combinators import freeze as freeze
from lamda.combinators import identity as identity
from lamda.combinators import pick as pick
from lamda.compile import Handler as Handler
from lamda.compile import Report as Report
from lamda.compile import bundle as bundle
from lamda.compile import compile as compile
from lamda.errors import ImpureError as ImpureError
from lamda.errors import LamdaError as LamdaError
from lamda.errors import MismatchError as MismatchError
from lamda.errors import MissingError as MissingError
from lamda.errors import OpenError as OpenError
from lamda.errors import SpecError as SpecError
from lamda.errors import StoreError as StoreError
from lamda.errors import SuccessionError as SuccessionError
from lamda.fit import fit as fit
from lamda.lift import lift as lift
from lamda.model import Model as Model
from lamda.receipt import Receipt as Receipt
from lamda.store import Store as Store
from lamda.store import Version as Version
from lamda.versions import pred as pred
from lamda.versions import succ as succ
from lamda.versions import who as who
