"""What the bytes of an image file say before it is decoded."""
