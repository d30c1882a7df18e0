"""Search: many heads and settings, trained at once and ranked."""

from lamda.fit.search.ranking import Ranking as Ranking
from lamda.fit.search.ranking import Trial as Trial
from lamda.fit.search.search import search as search
