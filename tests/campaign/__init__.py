"""A whole lab, broken at random while it carries runs: what is lost, doubled, stuck or wrongly blamed is counted."""
