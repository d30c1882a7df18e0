"""Every mutant."""

import mutants_calculus
import mutants_deployed
import mutants_merge
import mutants_weights
from mutant import Mutant

MUTANTS: list[Mutant] = [
    *mutants_calculus.MUTANTS,
    *mutants_weights.MUTANTS,
    *mutants_merge.MUTANTS,
    *mutants_deployed.MUTANTS,
]
