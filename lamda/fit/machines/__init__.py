"""Training over several machines, which share each batch and find the same result."""

from lamda.fit.machines.machines import fit as fit
