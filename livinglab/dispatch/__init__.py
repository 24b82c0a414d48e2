"""Ways to carry attempts through the engine: in this process, or as Prefect flows."""
