"""Images and masks at full size, in memory as far as it reaches."""
