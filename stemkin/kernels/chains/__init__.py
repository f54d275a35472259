"""What becomes of what: counts along tracks, Markov chains, rates, survival, hidden states."""
