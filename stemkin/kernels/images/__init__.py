"""Images as recorded: their quality, corrections, noise, filters and limits."""
