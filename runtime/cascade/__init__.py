"""A loaded bundle segments images held in memory."""
