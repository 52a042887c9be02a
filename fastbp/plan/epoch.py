"""The steps of an epoch, by their numbers of rows."""

from typing import NamedTuple


class Epoch(NamedTuple):
    """An epoch: long steps, then short ones."""

    long: int  # number of long steps
    long_rows: int  # rows of each
    short: int
    short_rows: int

    @classmethod
    def of(cls, rows: int, size: int) -> "Epoch":
        """Divide ``rows`` into steps of ``size``; the last step may have fewer rows."""
        long, rest = divmod(rows, size)
        return cls(long, size, 1 if rest else 0, rest)

    @property
    def steps(self) -> int:
        """The number of steps."""
        return self.long + self.short

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.long * self.long_rows + self.short * self.short_rows

    @property
    def last_rows(self) -> int:
        """The rows of the last step."""
        return self.short_rows if self.short else self.long_rows

    def row(self, step: int) -> int:
        """Return the number of rows before a step."""
        after = max(0, step - self.long)
        return (step - after) * self.long_rows + after * self.short_rows
