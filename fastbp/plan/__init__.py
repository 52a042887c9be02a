"""A network lowered to a plan: a list of operations, each a kernel compiled by itself.

Read ``problem``, ``operand`` and ``memory``, then ``lowering``, which is the derivation; ``choice``
says which kernel makes a product, ``plan`` and ``operation`` how operations become addresses,
``run`` and ``steps`` how they are called.
"""
