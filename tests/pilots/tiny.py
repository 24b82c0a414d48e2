"""The tiny sandbox's honest pilot: knows the model that the data were drawn from, and needs the standard library only."""

import csv
import math
import sys
import time
from pathlib import Path

if len(sys.argv) > 1:
    time.sleep(float(sys.argv[1]))  # a pilot that takes its time
with open("/in/cohort.csv", newline="") as cohort, open("/out/predictions.csv", "w", newline="") as out:
    writer = csv.writer(out)
    writer.writerow(["id", "risk"])
    for row in csv.DictReader(cohort):
        writer.writerow([row["id"], 1 - math.exp(-0.5 * math.exp(float(row["x"])))])
print("predicted", Path("/out/predictions.csv").stat().st_size, "bytes")
