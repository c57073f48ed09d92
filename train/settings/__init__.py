"""Settings of a training and the choice of a network; imports no torch."""
