"""The tables of each kind of result."""
