"""Data: files and bundled sets, read into columns and targets, and prepared for a network."""
