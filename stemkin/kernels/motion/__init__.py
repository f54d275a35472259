"""How far defects go: displacements, covariances, likelihoods, hops on a lattice, borders."""
