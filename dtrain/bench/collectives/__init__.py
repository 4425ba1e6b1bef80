"""What benchmarks of collectives share: contestants, exact data, message sizes, the line through a sweep."""
