"""A Slurm cluster with Apptainer as a site: the same images by digest, the same launcher, the same evidence."""
