"""A network lowered to a plan: a list of operations, each a kernel compiled by itself.

Read ``lowering`` first: it is the derivation, one function for each part.
"""
