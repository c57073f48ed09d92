"""What a result file holds and must not contradict."""
