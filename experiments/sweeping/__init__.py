"""A sweep: many runs of one data set, from the grid of their settings to the tables of their results."""
