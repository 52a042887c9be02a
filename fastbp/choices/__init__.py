"""The tables of activations and losses that users choose by name."""
