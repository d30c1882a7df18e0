"""lamda: a functional language for composing neural models.

A model is a pure function with weights. Compose models like functions, address them by content,
compile the composition with XLA, deploy it as a stateless handler.
"""

import sys as _sys

import lamda.pytree as _pytree  # noqa: F401 - models become pytrees
from lamda.abstraction import fn as fn
from lamda.combinators import add as add
from lamda.combinators import apply as apply
from lamda.combinators import branch as branch
from lamda.combinators import cast as cast
from lamda.combinators import compose as compose
from lamda.combinators import concat as concat
from lamda.combinators import cond as cond
from lamda.combinators import const as const
from lamda.combinators import curry as curry
from lamda.combinators import ensemble as ensemble
from lamda.combinators import fine_tune_head as fine_tune_head
from lamda.combinators import first as first
from lamda.combinators import freeze as freeze
from lamda.combinators import fresh as fresh
from lamda.combinators import identity as identity
from lamda.combinators import iterate as iterate
from lamda.combinators import lora as lora
from lamda.combinators import mixture as mixture
from lamda.combinators import multiply as multiply
from lamda.combinators import named as named
from lamda.combinators import parallel as parallel
from lamda.combinators import partial as partial
from lamda.combinators import pick as pick
from lamda.combinators import quantize as quantize
from lamda.combinators import remat as remat
from lamda.combinators import repeat as repeat
from lamda.combinators import residual as residual
from lamda.combinators import scan as scan
from lamda.combinators import second as second
from lamda.combinators import stack as stack
from lamda.combinators import swap as swap
from lamda.combinators import switch as switch
from lamda.combinators import tap as tap
from lamda.combinators import vmap as vmap
from lamda.compile import Handler as Handler
from lamda.compile import Report as Report
from lamda.compile import bundle as bundle
from lamda.compile import compile as compile
from lamda.data import DataSet as DataSet
from lamda.diff import Difference as Difference
from lamda.diff import diff as diff
from lamda.errors import DiskError as DiskError
from lamda.errors import DivergedError as DivergedError
from lamda.errors import ImpureError as ImpureError
from lamda.errors import LamdaError as LamdaError
from lamda.errors import MachineError as MachineError
from lamda.errors import MismatchError as MismatchError
from lamda.errors import MissingError as MissingError
from lamda.errors import OpenError as OpenError
from lamda.errors import RemoteError as RemoteError
from lamda.errors import SpecError as SpecError
from lamda.errors import StoreError as StoreError
from lamda.errors import SuccessionError as SuccessionError
from lamda.fit import fit as fit
from lamda.fit import search as search
from lamda.fit.distil import distil as distil
from lamda.fit.evolve import Evolved as Evolved
from lamda.fit.evolve import evolve as evolve
from lamda.fit.rates import rates as rates
from lamda.fit.reproduce import Reproduced as Reproduced
from lamda.fit.reproduce import reproduce as reproduce
from lamda.lift import lift as lift
from lamda.merge import merge as merge
from lamda.model import Model as Model
from lamda.receipt import Receipt as Receipt
from lamda.store import Store as Store
from lamda.store import Version as Version
from lamda.surgery import Selection as Selection
from lamda.surgery import graft as graft
from lamda.surgery import replace as replace
from lamda.surgery import select as select
from lamda.surgery import split_at as split_at
from lamda.versions import pred as pred
from lamda.versions import succ as succ
from lamda.versions import who as who

if "hypothesis" in _sys.modules:  # it was imported first, and knew no Model then
    from lamda_hooks.hypothesis import models as _models

    _models()
