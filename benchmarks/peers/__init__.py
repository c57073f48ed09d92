"""What a user would pick instead of foveate, one file per engine, with the same weights."""
