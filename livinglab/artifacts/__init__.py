"""Immutable bytes by digest, and the container images among them."""
