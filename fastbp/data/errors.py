"""The error for data that cannot be used."""


class UnusableDataError(ValueError):
    """The data cannot be used; the message names the place and the reason."""
