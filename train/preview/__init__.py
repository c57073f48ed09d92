"""What the networks will see, in pictures and in words, before anything is trained."""
