"""What the lab tells whoever watches it."""
