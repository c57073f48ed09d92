"""foveate compared with what a user would do instead."""
