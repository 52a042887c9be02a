"""The forms of activations and losses in the languages of exported files."""

from typing import Any


def check_forms(field: str, language: str, *rows: Any) -> None:
    """Check that activations and losses have a form in the language of an exported file.

    Raises
    ------
    ValueError
        If one has none.
    """
    for row in rows:
        if getattr(row, field) is None:
            kind = type(row).__name__.lower()
            own = "user-defined " if row.own is not None else ""
            raise ValueError(
                f"the {own}{kind} {row.name!r} cannot be exported to {language}: only built-in "
                "activations and losses can be exported"
            )
