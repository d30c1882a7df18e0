"""Training as a pure function: the same inputs give a model of the same address."""

from lamda.fit.fit import fit as fit
from lamda.fit.loop import Event as Event
from lamda.fit.search import search as search
from lamda.fit.search.ranking import Ranking as Ranking
from lamda.fit.search.ranking import Trial as Trial
