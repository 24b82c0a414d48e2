"""What harnesses are built from: metrics with intervals, slices, and a decoder for a stranger's table.

It runs inside harness images, so it needs numpy and pyarrow (for credit scoring scipy too) and nothing of the lab: what it is
told comes as a plain document (`context.json`), and what it answers is one (`measurements.json`).
"""
