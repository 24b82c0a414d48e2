"""`python3 -m harness VERB`."""

from livinglab.measuring.harness import main

VERBS = {"drive": "harness.drive", "measure": "harness.measure"}

if __name__ == "__main__":
    main(VERBS)
