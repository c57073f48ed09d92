"""Data sets, images in memory, and the augmented views that training sees."""
