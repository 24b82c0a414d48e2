"""The addresses under `/v1`, one file per noun."""
