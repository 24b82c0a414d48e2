"""`python -m tests.campaign`: a campaign on beds of its own, and its report."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tests.campaign.campaign import Campaign, as_json, told
from tests.campaign.house import open_house
from tests.fixtures import kubernetes, slurm
from tests.fixtures.available import ROOT


def main() -> int:
    """Exit code 1 if anything went wrong that is counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, help="Where the report goes [default: standard output].")
    parser.add_argument("--json", type=Path, help="Where all of it goes.")
    parser.add_argument("--keep", type=Path, help="A folder for logs, events and queues.")
    given = parser.parse_args()
    beds = {"slurm": "livinglab-slurm-campaign", "kubernetes": "livinglab-k8s-campaign"}
    for kind, name in beds.items():
        os.environ[f"LIVINGLAB_{kind.upper()}_BED"] = name
        subprocess.run([ROOT / "infra" / kind / "bed.sh", "up"], check=True)
    try:
        with open_house(slurm.bed_of_this_machine(), kubernetes.bed_of_this_machine()) as house:
            result = Campaign(house, given.runs, given.seed).run()
            if given.keep:
                house.keep(given.keep)
    finally:
        for kind in beds:
            subprocess.run([ROOT / "infra" / kind / "bed.sh", "down"], check=False)
    if given.keep:
        (given.keep / "result.json").write_text(as_json(result))
    if given.json:
        given.json.write_text(as_json(result))
    if given.report:
        given.report.write_text(told(result))
    sys.stdout.write(told(result))
    for name, found in result.wrong.items():
        for one in found:
            sys.stdout.write(f"{name}: {one}\n")
    return 1 if any(result.wrong.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
