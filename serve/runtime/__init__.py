"""Run the programs of a bundle through the PJRT C API, with the standard library alone.

Read in this order: `engine` (which way, and the call), `native` (what must agree before anything
is loaded), `client` and `program` (what is done), `api` (how the C is called).
"""
