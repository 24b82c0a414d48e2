"""How what belongs to a sandbox is marked in MLflow and Prefect: what writes there, and the door before them, agree on it."""

MLFLOW_SANDBOX = "livinglab.sandbox"
"""Tag of an experiment: the sandbox's id."""
PREFECT_SANDBOX = "sandbox:"
"""What begins the tag of a flow run that has the sandbox's id."""
