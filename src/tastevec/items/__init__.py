"""What films are: their vectors, from a genome, from content, from the training users."""
