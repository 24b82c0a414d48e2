"""A Kubernetes cluster as a site: one Job per attempt and role, the same images by digest, the same launcher, the same evidence."""
