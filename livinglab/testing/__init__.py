"""Fakes at the edge of the process, and the suite that every site must pass: for these tests, and for the authors of other sites."""
