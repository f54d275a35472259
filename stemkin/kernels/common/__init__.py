"""What every wing leans on: who is who, intervals, exact sums, numbers from names."""
