"""Loss and Dice of a training, drawn while it runs."""
