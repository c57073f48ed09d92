"""Objects: the connected pieces of a mask, their numbers and their measures."""
