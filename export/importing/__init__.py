"""Read trained networks of other makers: their file, their interface, their place in a stage."""
