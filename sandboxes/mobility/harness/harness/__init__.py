"""The harness of the mobility sandbox: drive, measure."""
