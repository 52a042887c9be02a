"""A network lowered to a plan: a list of operations, each a call of a separately compiled kernel.

Read ``problem``, ``operand`` and ``buffers`` first. ``lowering``, ``forward`` and
``backpropagation`` follow the derivation; ``choice`` chooses the kernel of each product. ``plan``
and ``operation`` compile or load the entries of operations; ``run`` and ``steps`` call them.
"""
