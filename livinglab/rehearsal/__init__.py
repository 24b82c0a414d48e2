"""A run that counts for nothing: both sides of a plan in one pair of hands, in a lab that is thrown away."""
