"""Projections of the record for people's eyes. They record, and never decide."""
