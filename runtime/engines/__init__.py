"""The engines: one file each, one interface."""
