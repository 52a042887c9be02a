"""Adapters: the same training in other libraries, one class for each.

An adapter takes a `Case` and has `reset()`, `run()`, which trains for one epoch and returns its
mean loss, and `params`, the parameters in fastbp's order. Each adapter gathers its own batches, and
uses its library as a user who wants speed would. A module is imported only where its library is
installed.
"""
