"""The shape of a tile; ``tiles`` describes what a tile is."""

TILE = 6  # rows
VECTOR = 32  # bytes of a vector
