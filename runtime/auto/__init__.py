"""Which engine and precision `auto` takes, and the records it trusts."""
