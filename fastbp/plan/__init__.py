"""A network lowered to a plan: a list of operations, each a call of a kernel compiled by itself.

Read ``problem``, ``operand`` and ``buffers`` first. ``lowering``, ``forward`` and
``backpropagation`` are the derivation, ``choice`` decides which kernel computes a product. ``plan``
and ``operation`` turn operations into addresses; ``run`` and ``steps`` call them.
"""
