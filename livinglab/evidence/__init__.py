"""Signed statements, the chain they stand in, the dossier that carries them, and the check that needs none of the rest of the lab."""
