"""What can be wrong with an authority's data."""


class Unfit(ValueError):
    """Data that are not what the sandbox expects; the message names file, column, what was found and what was expected."""
