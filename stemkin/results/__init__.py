"""The results folder: its files, its journal and lock, its log."""
