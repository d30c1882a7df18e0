"""What else can run a model: each peer in an environment and in processes of its own.

`models` says what is run, `environments` and `prepare` make what is needed under `.cache/peers`,
`processes` starts a peer and asks it. A `with_*.py` is the program that such a process runs, and
nothing here is a dependency of the project.
"""
