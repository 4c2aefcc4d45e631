"""Jobs: the only readers of a whole RunConfig."""
