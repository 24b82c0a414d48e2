"""Use cases, one file per noun. State changes and verdicts are made here and nowhere else."""
