"""What a defect is: descriptors, motifs, mixtures of classes and their names, mean structures."""
