"""Compiling: a model as programs and executables, a handler in this process, a bundle on disk."""

from lamda.compile.bundle import Report as Report
from lamda.compile.bundle import bundle as bundle
from lamda.compile.handler import Handler as Handler
from lamda.compile.handler import compile as compile
