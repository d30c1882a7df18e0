"""What other tools load by themselves where lamda is installed; it imports neither jax nor lamda.

pytest and Hypothesis load these modules at their start, in every session of everyone, before a
conftest.py has said how JAX shall run. So they stand beside the language and load it only on use.
"""
