"""The HTTP API of the lab."""
