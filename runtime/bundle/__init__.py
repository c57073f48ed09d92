"""The bundle format: read, verify, describe, pack and sign."""
