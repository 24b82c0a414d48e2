"""livinglab: a living-lab sandbox orchestrator for applied-AI pilots."""

__version__ = "0.1.0"
