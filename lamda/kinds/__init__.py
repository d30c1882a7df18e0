"""The kinds of control, by name."""

from lamda.kind import Kind
from lamda.kinds.iterate import Iterate as Iterate
from lamda.kinds.remat import Remat as Remat
from lamda.kinds.scan import Scan as Scan
from lamda.kinds.switch import Switch as Switch
from lamda.kinds.until import Until as Until
from lamda.kinds.vmap import Vmap as Vmap

KINDS: dict[str, type[Kind]] = {k.name: k for k in (Iterate, Remat, Scan, Switch, Until, Vmap)}
