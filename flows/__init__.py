"""Prefect: order and visibility. A flow's body is calls to the run engine."""
