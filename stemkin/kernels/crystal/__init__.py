"""The crystal of a frame: lattice, waves and grains, how a probe draws it, its order and drift."""
