"""Which detection continues which: candidates, steps, assignments, gaps, names across blocks."""
