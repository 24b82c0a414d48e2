"""`python3 -m harness VERB`."""

from livinglab.measuring.harness import DECODE, main

VERBS = {"prepare": "harness.prepare", "decode": DECODE, "measure": "harness.measure"}

if __name__ == "__main__":
    main(VERBS)
