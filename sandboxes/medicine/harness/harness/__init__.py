"""The harness of the survival sandboxes: prepare, decode, measure."""
