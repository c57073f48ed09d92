"""``make soak``: what ``foveate segment`` promises, tried for long: kills, mutations, memory."""
