"""Prefect flows: order, retries and schedules. A flow's body is calls to services."""
