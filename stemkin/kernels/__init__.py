"""The science: arrays in, arrays out; a physicist can check each module with a pencil."""
