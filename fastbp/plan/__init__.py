"""A network lowered to a plan: a list of operations, each a kernel compiled by itself.

Read ``problem``, ``operand`` and ``buffers``, then ``lowering`` and ``backpropagation``, which are
the derivation; ``choice`` says which kernel makes a product, ``plan`` and ``operation`` how
operations become addresses, ``run`` and ``steps`` how they are called.
"""
