"""Surgery: looking into models and changing what is there. Operands never change, ties are kept."""

from lamda.surgery.replace import replace as replace
from lamda.surgery.select import Selection as Selection
from lamda.surgery.select import select as select
from lamda.surgery.slices import graft as graft
from lamda.surgery.slices import item as item
from lamda.surgery.slices import length as length
from lamda.surgery.slices import split_at as split_at
