"""The words of the lab as types: pure, no I/O, no clock of its own."""
