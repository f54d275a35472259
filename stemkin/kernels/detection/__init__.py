"""Defects in a frame: signals at sites and between them, and where each defect stands."""
