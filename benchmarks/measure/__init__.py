"""Speed and parity of one bundle."""
