"""Train the networks: losses, schedule, steps, and the order of the stages."""
