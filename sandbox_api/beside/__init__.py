"""The lab's own door before MLflow and Prefect, which nobody reaches but through it: reading only, and of each caller's own sandboxes only.

What is not named here is not there. A request is let through if all that it could tell is of sandboxes that the caller oversees: either what it asks
for is looked up first, or the question is narrowed before it is passed on. Neither server is told who asks, and no answer of theirs says whether
something exists that is somebody else's.
"""
