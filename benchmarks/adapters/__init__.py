"""Adapters: the same training in other libraries, one class for each.

An adapter takes a `Case` and has `reset()`, `run()`, which trains for one epoch and returns its
mean loss, and `params`, the parameters in fastbp's order. It gathers its batches itself, and uses
its library as a user would for speed. A module is imported only where its library is installed.
"""
