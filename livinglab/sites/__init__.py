"""Places that compute. They don't know each other; what they share is how isolation is attested and how outputs are copied."""
