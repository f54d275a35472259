"""The crystal of a frame: its lattice, how a probe draws it, what it shows without defects, its
grains, order, drift."""
